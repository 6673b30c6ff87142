using System.Globalization;
using System.Runtime.InteropServices;
using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// The constants and the names of a file. Weights keep the names that checkpoints have for them; small numbers are called by
/// their values and written once.
/// </summary>
internal sealed class OnnxConstants
{
    private readonly OnnxGraph file;
    private readonly HashSet<string> taken;
    private readonly Dictionary<GraphValue, string> names = [];
    private readonly Dictionary<GraphValue, Tensor> values = [];
    private readonly Dictionary<(GraphValue, string), string> written = [];
    private readonly HashSet<GraphValue> named = [];
    private readonly Dictionary<string, string> numbers = [];

    /// <param name="outputs">Names that the graph's outputs are to have.</param>
    public OnnxConstants(OnnxGraph file, Graph graph, IEnumerable<string> outputs)
    {
        this.file = file;
        taken = [.. outputs, OnnxRows.Counts, OnnxRows.Left];
        foreach (GraphValue weight in graph.Weights.Values) names[weight] = Free(weight.Name);
        HashSet<GraphValue> computed = OpenBatch.Computed(graph);
        foreach (GraphNode node in graph.Nodes.Where(n => !computed.Contains(n.Output))) names[node.Output] = Free(node.Name);
    }

    /// <summary>The name, or one that begins so, where it is taken; it is taken then.</summary>
    public string Free(string name)
    {
        string free = name;
        for (int i = 1; !taken.Add(free); i++) free = string.Create(CultureInfo.InvariantCulture, $"{name}.{i}");
        return free;
    }

    /// <summary>The values of a weight, or of what is made of weights alone.</summary>
    public Tensor Value(GraphValue value)
    {
        if (value.IsWeight) return value.Tensor;
        if (values.TryGetValue(value, out Tensor? made)) return made;
        using Recording.PauseBlock pause = Recording.Pause();
        GraphNode node = value.Producer!;
        return values[value] = node.Op.On([.. node.Operands.Select(o => o is null ? null : Value(o))]).Run();
    }

    /// <summary>A constant of the value's own name and shape.</summary>
    public string Of(GraphValue value) => Quantised(value, transposed: false) ?? Of(value, "", OnnxTensor.Of);

    /// <summary>[out, in] as MatMul reads it: [in, out].</summary>
    public string Transposed(GraphValue value) => Quantised(value, transposed: true) ?? Of(value, "transposed", (name, weight) =>
    {
        int rows = weight.Shape[0], columns = weight.Shape[1];
        return new OnnxTensor(name, OnnxType.Float, [columns, rows],
            stream => stream.Write(MemoryMarshal.AsBytes<float>(Transposed<float>(weight.Span, rows, columns))));
    });

    /// <summary>A weight of few bits or of a code book; null where it is none.</summary>
    private string? Quantised(GraphValue value, bool transposed)
    {
        if (value.Producer?.Op is not (QuantiseOp or CodeBookOp)) return null;
        string form = transposed ? "quantised.transposed" : "quantised";
        if (written.TryGetValue((value, form), out string? there)) return there;
        string name = named.Contains(value) ? Free($"{names[value]}.{form}") : names[value];
        string? made = OnnxQuantised.Weight(this, file, value, name, transposed)
            ?? OnnxCodeBook.Weight(this, file, value, name, transposed);
        if (made is null) return null;
        named.Add(value);
        return written[(value, form)] = made;
    }

    /// <summary>A weight in another form. The first form that is asked for has the weight's name.</summary>
    public string Of(GraphValue value, string form, Func<string, Tensor, OnnxTensor> make)
    {
        if (written.TryGetValue((value, form), out string? there)) return there;
        string name = named.Add(value) ? names[value] : Free($"{names[value]}.{form}");
        return written[(value, form)] = file.Constant(make(name, Value(value)));
    }

    /// <summary>A number without axes.</summary>
    public string Float(float value) =>
        Number($"float.{value.ToString("R", CultureInfo.InvariantCulture)}", name => OnnxTensor.Of(name, [], [value]));

    /// <summary>A list: a shape, axes, indices.</summary>
    public string Ints(params long[] list)
    {
        string all = $"ints.{string.Join('.', list)}";
        return Number(all, name => OnnxTensor.Of(name, [list.Length], list), list.Length > 8 ? $"ints.{list.Length}.long" : all);
    }

    /// <summary>So many equal numbers.</summary>
    public string Filled(int count, float value)
    {
        string what = string.Create(CultureInfo.InvariantCulture, $"floats.{count}.of.{value:R}");
        return Number(what, name => OnnxTensor.Of(name, [count], [.. Enumerable.Repeat(value, count)]));
    }

    /// <summary>A whole number without axes.</summary>
    public string Int(long value) => Number($"int.{value}", name => OnnxTensor.Of(name, [], [value]));

    public string Floats(string name, long[] shape, float[] list) => file.Constant(OnnxTensor.Of(Free(name), shape, list));

    public string Ints(string name, long[] list) => file.Constant(OnnxTensor.Of(Free(name), [list.Length], list));

    public string Bools(string name, IEnumerable<bool> list)
    {
        byte[] bytes = [.. list.Select(b => (byte)(b ? 1 : 0))];
        return file.Constant(new OnnxTensor(Free(name), OnnxType.Bool, [bytes.Length], s => s.Write(bytes)));
    }

    /// <summary>[rows, columns] -> [columns, rows].</summary>
    public static T[] Transposed<T>(ReadOnlySpan<T> values, int rows, int columns)
    {
        var result = new T[values.Length];
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) result[c * rows + r] = values[r * columns + c];
        return result;
    }

    private string Number(string what, Func<string, OnnxTensor> make, string? name = null)
    {
        if (!numbers.TryGetValue(what, out string? there)) there = numbers[what] = file.Constant(make(Free(name ?? what)));
        return there;
    }
}
