using System.Globalization;
using System.Text.Json;
using Espalier.Formats;
using Espalier.Tensors;

namespace Espalier.Files;

/// <summary>
/// A graph as JSON:
/// <c>{"inputs":[{"name":"images","shape":[3,32,32]}],"buffers":["bn1.running_mean",...],"nodes":[{"name":"conv1",
/// "op":"Conv2d","operands":["images","conv1.weight",null],"settings":{"stride":1,...}},...],"outputs":["fc"]}</c>. Shapes of
/// inputs are those of one image. Weights are not in it: what is neither an input nor a node before is a tensor of the file.
/// </summary>
internal static class GraphFile
{
    /// <summary>What may be in one graph.</summary>
    internal const int MostNodes = 1 << 16, MostOperands = 1 << 20, LongestName = 512;

    /// <exception cref="ArgumentException">An op is not one of <see cref="OpTable"/>, or a setting is no number.</exception>
    public static void Write(Utf8JsonWriter json, Graph graph)
    {
        json.WriteStartObject();
        json.WriteStartArray("inputs");
        foreach (GraphValue input in graph.Inputs)
        {
            if (input.Tensor.Rows is not null || input.Shape.Rank == 0)
                throw new ArgumentException($"the input {input} is not of images, and cannot be stored");
            json.WriteStartObject();
            json.WriteString("name", input.Name);
            json.WriteStartArray("shape");
            foreach (int extent in input.Shape.ToArray()[1..]) json.WriteNumberValue(extent);
            json.WriteEndArray();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        Strings(json, "buffers", graph.ReadWeights().Where(w => !w.Tensor.RequiresGrad).Select(w => w.Name));
        json.WriteStartArray("nodes");
        foreach (GraphNode node in graph.Nodes) Write(json, node);
        json.WriteEndArray();
        Strings(json, "outputs", graph.Outputs.Select(o => o.Name));
        json.WriteEndObject();
    }

    /// <summary>Makes the graph of shapes; its weights have no values yet, but for the lists of channels.</summary>
    /// <param name="shapes">The tensors of the file.</param>
    /// <param name="read">Reads a short tensor.</param>
    /// <exception cref="EspalierException">It is no graph, or its tensors do not fit; one line that names the node.</exception>
    public static Graph Read(JsonElement json, string source, IReadOnlyDictionary<string, int[]> shapes,
        Func<string, float[]> read)
    {
        try
        {
            return new Reader(shapes, read).Read(json);
        }
        catch (Exception e) when (e is InvalidDataException or ArgumentException or ArithmeticException)
        {
            throw new EspalierException($"{source}: its graph is damaged: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    private static void Write(Utf8JsonWriter json, GraphNode node)
    {
        if (!OpTable.Names.Contains(node.Op.Name)) throw new ArgumentException($"{node}: there is no such op in files");
        json.WriteStartObject();
        json.WriteString("name", node.Name);
        json.WriteString("op", node.Op.Name);
        json.WriteStartArray("operands");
        int count = node.Operands.Count;
        while (count > 0 && node.Operands[count - 1] is null) count--;
        foreach (GraphValue? operand in node.Operands.Take(count)) json.WriteStringValue(operand?.Name);
        json.WriteEndArray();
        if (node.Op.Settings.Count > 0)
        {
            json.WriteStartObject("settings");
            foreach (var (name, value) in node.Op.Settings)
            {
                json.WritePropertyName(name);
                Write(json, value);
            }
            json.WriteEndObject();
        }
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, object setting)
    {
        switch (setting)
        {
            case long number: json.WriteNumberValue(number); break;
            case float number: json.WriteRawValue(Text(number)); break;
            case bool flag: json.WriteBooleanValue(flag); break;
            case string word: json.WriteStringValue(word); break;
            case long[] numbers: List(numbers.Select(n => n.ToString(CultureInfo.InvariantCulture))); break;
            case float[] numbers: List(numbers.Select(Text)); break;
            default: throw new ArgumentException($"a setting is of the type {setting.GetType().Name}");
        }

        void List(IEnumerable<string> numbers) => json.WriteRawValue($"[{string.Join(',', numbers)}]");
    }

    /// <summary>All digits, and a point or exponent, so that it is read as a float again. Infinity is a number too large for one.
    /// </summary>
    private static string Text(float number)
    {
        if (float.IsNaN(number)) throw new ArgumentException("a setting is not a number");
        if (float.IsInfinity(number)) return number > 0 ? "1e999" : "-1e999";
        string text = number.ToString("R", CultureInfo.InvariantCulture);
        return text.AsSpan().ContainsAny('.', 'E') ? text : text + ".0";
    }

    private static void Strings(Utf8JsonWriter json, string name, IEnumerable<string> values)
    {
        json.WriteStartArray(name);
        foreach (string value in values) json.WriteStringValue(value);
        json.WriteEndArray();
    }

    private sealed class Reader(IReadOnlyDictionary<string, int[]> shapes, Func<string, float[]> read)
    {
        private const int LongestList = 1 << 20;

        private readonly GraphBuilder builder = new();
        private int operandsLeft = MostOperands;

        public Graph Read(JsonElement json)
        {
            StrictJson.Members members = new(json, "the graph", "inputs", "buffers", "nodes", "outputs");
            foreach (JsonElement input in members.List("inputs", 16)) Input(input);
            var nodes = new List<Node>();
            foreach (JsonElement node in members.List("nodes", MostNodes)) nodes.Add(Parsed(node));
            Weights(nodes, [.. members.List("buffers", MostOperands).Select(b => Name(b, "a buffer"))]);
            foreach (Node node in nodes)
            {
                GraphValue?[] operands = [.. node.Operands.Select(o => o is null ? null : Value(node, o))];
                builder.Node(node.Name, node.Op, operands, node.Settings);
            }
            return builder.Build([.. members.List("outputs", 16).Select(o => Output(Name(o, "an output")))]);

            GraphValue Output(string name) =>
                builder.Find(name) ?? throw new InvalidDataException($"the output '{name}' is nowhere made");
        }

        private void Input(JsonElement input)
        {
            StrictJson.Members members = new(input, "an input", "name", "shape");
            int[] image = [.. members.List("shape", Shape.MaxRank - 1).Select(n => StrictJson.Int(n, "an input's shape"))];
            builder.Input(Name(members["name"], "an input"), Tensor.Meta(new Shape([2, .. image])));
        }

        private Node Parsed(JsonElement node)
        {
            StrictJson.Members members = new(node, "a node", "name", "op", "operands", "settings?");
            string name = Name(members["name"], "a node");
            string op = StrictJson.Text(members["op"], $"the op of '{name}'", LongestName);
            if (!OpTable.Names.Contains(op))
                throw new InvalidDataException($"node '{name}': there is no op {ReadGuard.Quote(op)}");
            string?[] operands = [.. members.List("operands", MostOperands)
                .Select(o => o.ValueKind == JsonValueKind.Null ? null : Name(o, $"an operand of '{name}'"))];
            if ((operandsLeft -= operands.Length) < 0) throw new InvalidDataException($"has more than {MostOperands} operands");
            var settings = new OpSettings();
            if (members.Has("settings"))
            {
                foreach (JsonProperty setting in StrictJson.Object(members["settings"], $"the settings of '{name}'"))
                    settings.Put(setting.Name, Setting(setting.Value, name, op));
            }
            return new Node(name, op, operands, settings);
        }

        /// <summary>The tensors that nodes read, in the file's order; lists of channels with their numbers.</summary>
        private void Weights(List<Node> nodes, HashSet<string> buffers)
        {
            var used = new HashSet<string>(StringComparer.Ordinal);
            var lists = new HashSet<string>(StringComparer.Ordinal);
            foreach (Node node in nodes)
            {
                foreach (string? operand in node.Operands) if (operand is not null) used.Add(operand);
                if (OpTable.ListOperand(node.Op) is { } at && node.Operands.ElementAtOrDefault(at) is { } list) lists.Add(list);
            }
            used.ExceptWith(nodes.Select(n => n.Name));
            foreach (var (name, shape) in shapes)
            {
                if (!used.Contains(name) || builder.Find(name) is not null) continue;
                if (shape.Length > Shape.MaxRank) throw new InvalidDataException($"'{name}' has {shape.Length} dimensions");
                Tensor tensor = Tensor.Meta(new Shape(shape));
                if (lists.Contains(name))
                {
                    if (shape is not [<= LongestList]) throw new InvalidDataException($"'{name}' is no list of channels");
                    tensor = Tensor.Unscoped(tensor.Shape);
                    read(name).CopyTo(tensor.Span);
                }
                tensor.RequiresGrad = !buffers.Remove(name);
                builder.Weight(name, tensor);
            }
            if (buffers.FirstOrDefault() is { } unknown)
                throw new InvalidDataException($"the buffer '{unknown}' is no tensor that it reads");
        }

        private GraphValue Value(Node node, string operand) => builder.Find(operand)
            ?? throw GraphBuilder.Wrong(node.Name, node.Op,
            $"reads '{operand}', which is neither an input, a node before it nor a tensor of the file");

        private static object Setting(JsonElement json, string node, string op)
        {
            string what = $"a setting of node '{node}' ({op})";
            return json.ValueKind switch
            {
                JsonValueKind.Number when IsWhole(json) => StrictJson.Long(json, what),
                JsonValueKind.Number => Float(json),
                JsonValueKind.True => true,
                JsonValueKind.False => false,
                JsonValueKind.String => StrictJson.Text(json, what, LongestName),
                JsonValueKind.Array => Numbers(StrictJson.List(json, what, LongestList), what),
                _ => throw new InvalidDataException($"{what} is neither a number, a word, a truth value nor a list of numbers"),
            };
        }

        private static object Numbers(List<JsonElement> list, string what)
        {
            if (list.Exists(n => n.ValueKind != JsonValueKind.Number))
                throw new InvalidDataException($"{what} is a list of other things than numbers");
            return list.TrueForAll(IsWhole) ? list.Select(n => StrictJson.Long(n, what)).ToArray() : list.Select(Float).ToArray();
        }

        private static bool IsWhole(JsonElement number) => !number.GetRawText().AsSpan().ContainsAny('.', 'e', 'E');

        private static float Float(JsonElement number) => number.GetSingle();

        private static string Name(JsonElement json, string what)
        {
            string name = StrictJson.Text(json, $"the name of {what}", LongestName);
            return name.Length > 0 && !name.Any(char.IsControl) ? name
                : throw new InvalidDataException($"the name of {what} is {ReadGuard.Quote(name)}");
        }

        private sealed record Node(string Name, string Op, string?[] Operands, OpSettings Settings);
    }
}
