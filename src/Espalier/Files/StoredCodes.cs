using System.Text.Json;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Files;

/// <summary>
/// How a tensor of few bits lies in a file: as whole numbers of one byte each, of two, or two in a byte, first the lower half. In
/// the metadata, under <c>stored</c>, is what they stand for: <c>(code - zero) · scale</c>, with scale and zero point by name
/// among the file's tensors, one, or one for each entry of an axis; without a scale the codes themselves.
/// </summary>
/// <param name="Shape">The tensor's.</param>
/// <param name="Low">The least code; likewise the largest.</param>
/// <param name="Axis">That of the scales; -1 where there is one.</param>
internal sealed record StoredCodes(int[] Shape, int Low, int High, string? Scale = null, string? Zero = null, int Axis = -1)
{
    private const int MostBits = 16;

    /// <summary>Codes are stored less this.</summary>
    private int Base => IsPacked ? Low : 0;

    private bool IsPacked => High - Low <= 15;

    private bool IsWide => Low < sbyte.MinValue || High > (Low < 0 ? sbyte.MaxValue : byte.MaxValue);

    private ElementType Type => IsPacked ? ElementType.U8 : IsWide ? Low < 0 ? ElementType.I16 : ElementType.U16
        : Low < 0 ? ElementType.I8 : ElementType.U8;

    private long Count => ArrayShape.Count(Shape);

    /// <summary>Of the entry in the file.</summary>
    private int[] EntryShape => IsPacked ? [checked((int)((Count + 1) / 2))] : Shape;

    /// <summary>
    /// The weights of a graph that are stored as codes: those that <see cref="QuantiseOp"/> alone reads, always in the same way.
    /// What it makes of the numbers that the codes stand for is what it made of the weight. And the codes of code books.
    /// </summary>
    public static OrderedDictionary<string, StoredCodes> Of(Graph graph)
    {
        var stored = new OrderedDictionary<string, StoredCodes>(StringComparer.Ordinal);
        ILookup<GraphValue, GraphNode> readers = graph.Nodes.SelectMany(n => n.Inputs.Select(i => (i, n))).ToLookup(p => p.i,
            p => p.n);
        foreach (GraphValue weight in graph.ReadWeights())
        {
            GraphNode[] nodes = [.. readers[weight]];
            if (EntriesOf(weight, nodes) is { } entries) stored[weight.Name] = new StoredCodes(weight.Shape.ToArray(), 0,
                entries - 1);
            if (graph.Outputs.Contains(weight) || nodes is not [{ Op: QuantiseOp op } node, ..]) continue;
            bool alike = nodes.All(n => n.Op is QuantiseOp other && n.Operands[0] == weight && n.Inputs.Skip(1).All(o =>
                o != weight)
                && (other.Low, other.High, other.Axis) == (op.Low, op.High, op.Axis) && n.Operands.SequenceEqual(node.Operands));
            if (!alike || node.Operands.Skip(1).Any(o => o is { IsWeight: false })) continue;
            stored[weight.Name] = new StoredCodes(weight.Shape.ToArray(), op.Low, op.High, node.Operands[1]!.Name,
                node.Operands.ElementAtOrDefault(2)?.Name, op.Axis);
        }
        return stored;
    }

    /// <summary>Entries of the code book whose codes a weight holds; null where it is something else.</summary>
    private static int? EntriesOf(GraphValue weight, GraphNode[] readers)
    {
        if (readers.Length == 0 || !readers.All(n => n.Op is CodeBookOp && n.Operands[1] == weight)) return null;
        int entries = readers.Min(n => n.Operands[0]!.Shape[0]);
        return entries is >= 2 and <= 1 << MostBits ? entries : null;
    }

    /// <summary>The entry of a code book whose numbers all are of half precision, in that; null for any other weight.</summary>
    public static SafetensorsEntry? HalfBook(GraphValue weight, Graph graph)
    {
        GraphNode[] readers = [.. graph.Nodes.Where(n => n.Inputs.Contains(weight))];
        bool isBook = readers.Length > 0 && readers.All(n => n.Op is CodeBookOp && n.Operands[0] == weight);
        if (!isBook || weight.Tensor.ToArray().Any(x => (float)(Half)x != x)) return null;
        return new SafetensorsEntry(weight.Name, ElementType.F16, weight.Shape.ToArray(), stream =>
        {
            var halves = new Half[weight.Tensor.Length];
            System.Numerics.Tensors.TensorPrimitives.ConvertToHalf(weight.Tensor.Span, halves);
            stream.Write(System.Runtime.InteropServices.MemoryMarshal.AsBytes<Half>(halves));
        });
    }

    /// <summary>Bytes that the weights of a graph need at least: codes by their entropy, everything else as it is
    /// stored.</summary>
    public static double EntropyBytes(Graph graph)
    {
        OrderedDictionary<string, StoredCodes> stored = Of(graph);
        return graph.ReadWeights().Sum(w => stored.TryGetValue(w.Name, out StoredCodes? codes) ? codes.Entropy(w, graph)
            : (HalfBook(w, graph) is null ? 4.0 : 2.0) * w.Shape.Length);
    }

    private double Entropy(GraphValue weight, Graph graph)
    {
        double n = weight.Shape.Length;
        return CodesOf(weight, graph).CountBy(c => c).Sum(c => -c.Value * Math.Log2(c.Value / n)) / 8;
    }

    private int[] CodesOf(GraphValue weight, Graph graph) => Codes(weight.Tensor, Scale is null ? null
        : graph.Weights[Scale].Tensor,
        Zero is null ? null : graph.Weights[Zero].Tensor);

    /// <summary>The entry of a weight; its codes are made when it is written.</summary>
    public SafetensorsEntry Entry(GraphValue weight, Graph graph) => new(weight.Name, Type, EntryShape, stream =>
    {
        int[] codes = CodesOf(weight, graph);
        byte[] bytes = new byte[Type.Size() * ArrayShape.Count(EntryShape)];
        for (int i = 0; i < codes.Length; i++)
        {
            int code = codes[i] - Base;
            if (IsPacked) bytes[i / 2] |= (byte)(code << (i % 2 * 4));
            else if (Type.Size() == 1) bytes[i] = (byte)code;
            else BitConverter.TryWriteBytes(bytes.AsSpan(2 * i), (short)code);
        }
        stream.Write(bytes);
    });

    /// <summary>The codes of a tensor's values, row-major.</summary>
    public int[] Codes(Tensor values, Tensor? scale, Tensor? zero)
    {
        var codes = new int[values.Length];
        ForEach((i, c) =>
        {
            float z = zero is null ? 0 : zero.Span[c], x = scale is null ? values.Span[i] : values.Span[i] / scale.Span[c];
            codes[i] = (int)Math.Clamp(MathF.Round(x) + z, Low, High);
        });
        return codes;
    }

    /// <summary>Reads what the codes of a file stand for.</summary>
    /// <exception cref="EspalierException">A code is past its range.</exception>
    public void Read(ModelTensors file, string name, Span<float> values)
    {
        float[]? scale = Scale is null ? null : file.Read(Scale), zero = Zero is null ? null : file.Read(Zero);
        float[] stored = file.Read(name), read = new float[values.Length];
        ForEach((i, c) =>
        {
            float code = IsPacked ? ((int)stored[i / 2] >> (i % 2 * 4) & 15) + Base : stored[i];
            if (code < Low || code > High)
                throw new EspalierException($"{file.Source}: {name} holds the code {code}, and its codes are from {Low} to {High}; "
                    + "the file is damaged");
            read[i] = (code - (zero is null ? 0 : zero[c])) * (scale is null ? 1 : scale[c]);
        });
        read.CopyTo(values);
    }

    public void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteStartArray("shape");
        foreach (int n in Shape) json.WriteNumberValue(n);
        json.WriteEndArray();
        json.WriteNumber("low", Low);
        json.WriteNumber("high", High);
        if (Scale is not null) json.WriteString("scale", Scale);
        if (Zero is not null) json.WriteString("zero", Zero);
        json.WriteNumber("axis", Axis);
        json.WriteEndObject();
    }

    /// <summary>Checks all lengths against the file's tensors.</summary>
    /// <exception cref="InvalidDataException">It is none, or does not fit.</exception>
    public static StoredCodes Parse(JsonElement json, string name, IReadOnlyDictionary<string, int[]> shapes)
    {
        string what = $"what is stored as {ReadGuard.Quote(name)}";
        StrictJson.Members members = new(json, what, "shape", "low", "high", "scale?", "zero?", "axis");
        int[] shape = [.. members.List("shape", Tensors.Shape.MaxRank).Select(n => StrictJson.Int(n, $"the shape of {what}"))];
        ArrayShape.Check(name, [.. shape.Select(n => (long)n)], out int count);
        var codes = new StoredCodes(shape, StrictJson.Int(members["low"], what), StrictJson.Int(members["high"], what),
            Text("scale"),
            Text("zero"), StrictJson.Int(members["axis"], what));
        bool range = codes.Low < codes.High && codes.Low >= short.MinValue && codes.High < 1 << MostBits
            && (codes.Low >= 0 || codes.High <= short.MaxValue);
        if (!range) throw new InvalidDataException($"{what} has codes from {codes.Low} to {codes.High}");
        if (!shapes.TryGetValue(name, out int[]? entry) || !entry.AsSpan().SequenceEqual(codes.EntryShape))
            throw new InvalidDataException($"{what} is of {count} codes, and the tensor of that name is not");
        int axis = codes.Axis;
        if (axis < -1 || axis >= shape.Length) throw new InvalidDataException($"{what} has scales along axis {axis}");
        int scales = axis < 0 ? 1 : shape[axis];
        foreach (string? list in (string?[])[codes.Scale, codes.Zero])
            if (list is not null && (!shapes.TryGetValue(list, out int[]? n) || ArrayShape.Count(n) != scales))
                throw new InvalidDataException($"{what} lacks its {scales} scales or zero points {ReadGuard.Quote(list)}");
        return codes;

        string? Text(string part) => members.Has(part) ? StrictJson.Text(members[part], what, GraphFile.LongestName) : null;
    }

    /// <summary>Calls with the place of each value and its entry of the axis.</summary>
    private void ForEach(Action<int, int> value)
    {
        int inner = 1, count = checked((int)Count);
        for (int i = Axis + 1; i < Shape.Length && Axis >= 0; i++) inner *= Shape[i];
        for (int i = 0; i < count; i++) value(i, Axis < 0 ? 0 : i / inner % Shape[Axis]);
    }
}

/// <summary>The tensors of a file of which some are stored as codes: they read as what the codes stand for.</summary>
internal sealed class DecodedTensors : ModelTensors
{
    private readonly ModelTensors file;
    private readonly IReadOnlyDictionary<string, StoredCodes> codes;

    public DecodedTensors(ModelTensors file, IReadOnlyDictionary<string, StoredCodes> codes)
    {
        (this.file, this.codes) = (file, codes);
        Shapes = new OrderedDictionary<string, int[]>(file.Shapes.Select(s =>
            KeyValuePair.Create(s.Key, codes.TryGetValue(s.Key, out StoredCodes? c) ? c.Shape : s.Value)));
    }

    public override string Source => file.Source;

    public override IReadOnlyDictionary<string, string> Metadata => file.Metadata;

    public override IReadOnlyDictionary<string, int[]> Shapes { get; }

    public override void Read(string name, int start, Span<float> destination)
    {
        if (!codes.TryGetValue(name, out StoredCodes? stored)) file.Read(name, start, destination);
        else
        {
            var all = new float[Formats.ArrayShape.Count(Shapes[name])];
            stored.Read(file, name, all);
            all.AsSpan(start, destination.Length).CopyTo(destination);
        }
    }

    public override void Dispose() => file.Dispose();
}
