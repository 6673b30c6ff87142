using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>One node of the network on its way into a file: what it reads there, and what its result is to be called.</summary>
/// <param name="name">Of the result.</param>
/// <param name="tokens">Whether the result, and so what it is made of, is token rows [N, T, ..].</param>
internal sealed class OnnxCall(OnnxWriter writer, GraphNode node, string name, bool tokens)
{
    private OnnxRows? rows;

    public OnnxWriter Writer => writer;

    public OnnxConstants Constants => writer.Constants;

    public int Opset => writer.File.Opset;

    public GraphNode Node => node;

    public OpSettings Settings => node.Op.Settings;

    public string Name => name;

    public bool Tokens => tokens;

    /// <summary>Which rows of an image the result has; those of the first operand that is token rows, unless it says
    /// so.</summary>
    public OnnxRows Rows
    {
        get => rows ??= node.Inputs.Where(writer.IsTokens).Select(writer.RowsOf).FirstOrDefault() ?? OnnxRows.One;
        set => rows = value;
    }

    /// <summary>An operand as the result is: token rows or not.</summary>
    public string this[int operand] => writer.Read(Operand(operand), tokens);

    /// <summary>All operands that there are; the bias of a layer of few bits as whole numbers.</summary>
    public IReadOnlyList<string> Inputs => OnnxQuantised.Bias(this) is { } bias ? [this[0], this[1], bias]
        : [.. node.Inputs.Select(x => writer.Read(x, tokens))];

    public GraphValue Operand(int operand) => node.Operands[operand]!;

    public bool Has(int operand) => node.Operands.ElementAtOrDefault(operand) is not null;

    /// <summary>An operand's shape in the graph.</summary>
    public Shape Shape(int operand) => Operand(operand).Shape;

    /// <summary>Which axis of the file an axis of the graph is; [N, T] are one there.</summary>
    public long Axis(int axis) => tokens && axis > 0 ? axis + 1 : axis;

    /// <summary>The operator that gives the result.</summary>
    public string Result(string type, IReadOnlyList<string> inputs, params IReadOnlyList<OnnxAttribute> attributes) =>
        writer.File.Node(type, name, inputs, attributes);

    /// <summary>An operator on the way to it, called by what it gives.</summary>
    public string Part(string what, string type, IReadOnlyList<string> inputs, params IReadOnlyList<OnnxAttribute> attributes) =>
        writer.File.Node(type, Constants.Free($"{name}.{what}"), inputs, attributes);

    /// <summary>Entries from a start to an end along an axis of the file.</summary>
    public string Slice(string what, string x, long start, long end, long axis) =>
        Part(what, "Slice", [x, Ints(start), Ints(end), Ints(axis)]);

    /// <summary>The largest or smallest entries along axis 1, and their places.</summary>
    public (string Values, string Places) TopK(string what, string places, string x, string count, bool largest)
    {
        string values = Constants.Free($"{name}.{what}"), at = Constants.Free($"{name}.{places}");
        writer.File.Node("TopK", values, [values, at], [x, count], OnnxAttribute.Int("axis", 1),
            OnnxAttribute.Int("largest", largest ? 1 : 0));
        return (values, at);
    }

    public string Ints(params long[] list) => Constants.Ints(list);

    public string Float(float value) => Constants.Float(value);
}
