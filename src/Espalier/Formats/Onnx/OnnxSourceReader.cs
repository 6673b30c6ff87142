namespace Espalier.Formats.Onnx;

/// <summary>
/// Reads the protobuf of a model's file (onnx.proto: ModelProto, GraphProto, NodeProto, ...). What a stranger may put into it is
/// refused in one line: more than the limits allow, names that are no names, parts of ONNX that this library has no use for.
/// Tensors stay where they are in the file's bytes until they are asked for.
/// </summary>
internal static class OnnxSourceReader
{
    public const int LongestName = 1024;

    private const int MostNodes = 1 << 17, MostNames = 1 << 20, MostAxes = 64, LongestText = 1 << 24;

    /// <exception cref="InvalidDataException">It is no model, or one with parts that are not read.</exception>
    public static OnnxSource Read(ProtoSource file)
    {
        var model = new OnnxSource();
        var reader = new ProtoReader(file);
        bool graph = false;
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1: model.IrVersion = reader.Int(); break;
                case 2: model.Producer = reader.Text(LongestName); break;
                case 7 when !graph:
                    graph = true;
                    Graph(reader.Message(), model);
                    break;
                case 7: throw new InvalidDataException("it has two graphs");
                case 8: Opset(reader.Message(), model); break;
                case 14: Entry(reader.Message(), model.Metadata); break;
                case 20: throw new InvalidDataException("it has training_info, which is not read");
                case 25: throw new InvalidDataException("it has functions of its own, which are not read; inline them before");
                default: reader.Skip(); break;
            }
        }
        if (!graph) throw new InvalidDataException("it has no graph, so it is no ONNX model");
        return model;
    }

    /// <summary>A file that is one tensor, as test data are.</summary>
    public static OnnxSourceTensor ReadTensor(ReadOnlyMemory<byte> file) => Tensor(new ProtoReader(ProtoSource.Of(file)));

    private static void Opset(ProtoReader reader, OnnxSource model)
    {
        (string domain, long version) = ("", 0);
        while (reader.Next())
        {
            if (reader.Field == 1) domain = reader.Text(LongestName);
            else if (reader.Field == 2) version = reader.Int();
            else reader.Skip();
        }
        model.Opsets[domain == "ai.onnx" ? "" : domain] = version;
    }

    private static void Entry(ProtoReader reader, Dictionary<string, string> entries)
    {
        (string key, string value) = ("", "");
        while (reader.Next())
        {
            if (reader.Field == 1) key = reader.Text(LongestName);
            else if (reader.Field == 2) value = reader.Text(LongestText);
            else reader.Skip();
        }
        entries[key] = value;
    }

    private static void Graph(ProtoReader reader, OnnxSource model)
    {
        int names = 0;
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    OnnxSourceNode node = Node(reader.Message());
                    names += node.Inputs.Count + node.Outputs.Count;
                    if (model.Nodes.Count == MostNodes || names > MostNames)
                        throw new InvalidDataException($"it has more than {MostNodes} nodes, or {MostNames} names in them");
                    model.Nodes.Add(node);
                    break;
                case 2: model.GraphName = reader.Text(LongestName); break;
                case 5:
                    OnnxSourceTensor tensor = Tensor(reader.Message());
                    if (!model.Initialisers.TryAdd(tensor.Name, tensor))
                        throw new InvalidDataException($"two constants are named {ReadGuard.Quote(tensor.Name)}");
                    break;
                case 11: model.Inputs.Add(Value(reader.Message())); break;
                case 12: model.Outputs.Add(Value(reader.Message())); break;
                case 15: throw new InvalidDataException("it has sparse constants, which are not read");
                default: reader.Skip(); break;
            }
        }
    }

    private static OnnxSourceNode Node(ProtoReader reader)
    {
        List<string> inputs = [], outputs = [];
        (string name, string type, string domain) = ("", "", "");
        Dictionary<string, OnnxSourceAttribute> attributes = new(StringComparer.Ordinal);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1: inputs.Add(reader.Text(LongestName)); break;
                case 2: outputs.Add(reader.Text(LongestName)); break;
                case 3: name = reader.Text(LongestName); break;
                case 4: type = reader.Text(LongestName); break;
                case 5:
                    var (key, value) = Attribute(reader.Message());
                    if (!attributes.TryAdd(key, value))
                        throw new InvalidDataException($"a node has the attribute {ReadGuard.Quote(key)} twice");
                    break;
                case 7: domain = reader.Text(LongestName); break;
                default: reader.Skip(); break;
            }
        }
        if (!$"{domain}.{type}".All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '-' or ':'))
            throw new InvalidDataException($"a node's operator is {ReadGuard.Quote($"{domain}.{type}")}");
        return new OnnxSourceNode(type, domain == "ai.onnx" ? "" : domain, name, inputs, outputs, attributes);
    }

    /// <summary>AttributeProto: name 1, f 2, i 3, s 4, t 5, g 6, floats 7, ints 8, strings 9, graphs 11, type 20.</summary>
    private static (string Name, OnnxSourceAttribute Value) Attribute(ProtoReader reader)
    {
        string name = "";
        long type = 0;
        var value = new OnnxSourceAttribute();
        List<long> ints = [];
        List<float> floats = [];
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1: name = reader.Text(LongestName); break;
                case 2: value = value with { Float = reader.Float() }; break;
                case 3: value = value with { Int = reader.Int() }; break;
                case 4: value = value with { Text = reader.Text(LongestText) }; break;
                case 5:
                    OnnxSourceTensor tensor = Tensor(reader.Message());
                    if (tensor.External is not null)
                        throw new InvalidDataException($"the attribute {ReadGuard.Quote(name)} of a node is in another file; only a graph's constants may be");
                    value = value with { Tensor = tensor };
                    break;
                case 6 or 11:
                    reader.Skip();
                    value = value with { IsGraph = true };
                    break;
                case 7: reader.Floats(floats); break;
                case 8: reader.Ints(ints); break;
                case 20: type = reader.Int(); break;
                default: reader.Skip(); break;
            }
        }
        // Writers that leave zeros out say only the type; so with empty lists.
        value = type switch
        {
            1 => value with { Float = value.Float ?? 0 },
            2 => value with { Int = value.Int ?? 0 },
            3 => value with { Text = value.Text ?? "" },
            _ => value,
        };
        if (ints.Count > 0 || type == 7) value = value with { Ints = ints };
        if (floats.Count > 0 || type == 6) value = value with { Floats = floats };
        return (name, value);
    }

    /// <summary>TensorProto: dims 1, data_type 2, float_data 4, int32_data 5, int64_data 7, name 8, raw_data 9, double_data 10,
    /// uint64_data 11, external_data 13, data_location 14.</summary>
    private static OnnxSourceTensor Tensor(ProtoReader reader)
    {
        List<long> dims = [], ints = [];
        List<float> floats = [];
        List<double> doubles = [];
        var tensor = new OnnxSourceTensor { Ints = ints, Floats = floats, Doubles = doubles };
        Dictionary<string, string> external = new(StringComparer.Ordinal);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1: reader.Ints(dims); break;
                case 2: tensor.Type = (OnnxType)reader.Int(); break;
                case 3: throw new InvalidDataException("a tensor comes in segments, which no version of ONNX writes");
                case 4: reader.Floats(floats); break;
                case 5 or 7 or 11: reader.Ints(ints); break;
                case 8: tensor.Name = reader.Text(LongestName); break;
                case 9: tensor.Stored = reader.Bytes(); break;
                case 10: reader.Doubles(doubles); break;
                case 13: Entry(reader.Message(), external); break;
                case 14 when reader.Int() == 1: tensor.External = external; break;
                case 14: break;
                default: reader.Skip(); break;
            }
        }
        tensor.SetShape(dims);
        return tensor;
    }

    /// <summary>ValueInfoProto: name 1, type 2; TypeProto: tensor_type 1; Tensor: elem_type 1, shape 2; TensorShapeProto: dim 1;
    /// Dimension: dim_value 1, dim_param 2.</summary>
    private static OnnxSourceValue Value(ProtoReader reader)
    {
        var value = new OnnxSourceValue("", 0, null);
        while (reader.Next())
        {
            if (reader.Field == 1) value = value with { Name = reader.Text(LongestName) };
            else if (reader.Field != 2) reader.Skip();
            else
            {
                ProtoReader type = reader.Message();
                while (type.Next())
                {
                    if (type.Field == 1) value = OfTensor(type.Message(), value);
                    else type.Skip();
                }
            }
        }
        return value;
    }

    private static OnnxSourceValue OfTensor(ProtoReader reader, OnnxSourceValue value)
    {
        while (reader.Next())
        {
            if (reader.Field == 1) value = value with { Type = (int)Math.Clamp(reader.Int(), 0, int.MaxValue) };
            else if (reader.Field == 2) value = value with { Shape = Axes(reader.Message()) };
            else reader.Skip();
        }
        return value;
    }

    private static long?[] Axes(ProtoReader reader)
    {
        List<long?> axes = [];
        while (reader.Next())
        {
            if (reader.Field != 1)
            {
                reader.Skip();
                continue;
            }
            ProtoReader axis = reader.Message();
            long? length = null;
            while (axis.Next())
            {
                if (axis.Field == 1) length = axis.Int();
                else axis.Skip();
            }
            if (axes.Count == MostAxes) throw new InvalidDataException($"a value has more than {MostAxes} axes");
            axes.Add(length);
        }
        return [.. axes];
    }
}
