using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>A node of a file on its way into the graph: what it reads, its attributes, and what makes ops.</summary>
/// <param name="fixedImages">How many images the file was made for; 0 where it is for any number.</param>
/// <param name="open">Whether axis 0 of the network's inputs is any number of images.</param>
internal sealed class OnnxReadCall(OnnxEmitter emit, OnnxNodeView node, OnnxOperand?[] inputs, long fixedImages, bool open)
{
    public OnnxEmitter Emit => emit;

    public OnnxNodeView Node => node;

    public int Count => inputs.Length;

    public long FixedImages => fixedImages;

    public bool Open => open;

    public OnnxOperand this[int operand] =>
        Optional(operand) ?? throw new InvalidDataException($"its operand {operand} is missing");

    public OnnxOperand? Optional(int operand) => operand < inputs.Length ? inputs[operand] : null;

    public bool Has(int operand) => Optional(operand) is not null;

    /// <summary>An operand that must be a constant, for two images; null where it is left out.</summary>
    public OnnxArray? Two(int operand) => Constant(operand)?.Two;

    /// <summary>The same for three images.</summary>
    public OnnxArray? Three(int operand) => Constant(operand)?.Three;

    /// <summary>A constant operand that is the same for any number of images.</summary>
    public OnnxArray? Fixed(int operand) => Constant(operand) is not { } c ? null : c.Varies
        ? throw new InvalidDataException($"its operand {operand} depends on the number of images") : c.Two;

    /// <summary>The same of one that must be there.</summary>
    public OnnxArray Given(int operand) => Fixed(operand) ?? throw new InvalidDataException($"its operand {operand} is missing");

    /// <summary>A constant operand [N, ..] that is the same for every image, as [1, ..].</summary>
    public OnnxArray OfEachImage(int operand)
    {
        OnnxArray all = Two(operand) ?? throw new InvalidDataException($"its operand {operand} is missing");
        return OfEachImage(all, $"its operand {operand}");
    }

    /// <summary>The same of any constant.</summary>
    /// <param name="what">What it is, for the message.</param>
    public static OnnxArray OfEachImage(OnnxArray all, string what)
    {
        int images = all.Dims.Length == 0 || all.Dims[0] < 1 ? throw new InvalidDataException($"{what} has no images") : all.Dims[0];
        int each = all.Values.Length / images;
        for (int n = 1; n < images; n++)
            if (!all.Values.AsSpan(n * each, each).SequenceEqual(all.Values.AsSpan(0, each)))
                throw new InvalidDataException($"{what} is another one for each image");
        return all with { Dims = [1, .. all.Dims[1..]], Values = all.Values[..each] };
    }

    /// <summary>A number that is an operand or, in older versions, an attribute.</summary>
    public double Number(int operand, string attribute, double otherwise) => Has(operand)
        ? Fixed(operand)!.Values is [var v, ..] ? v : otherwise : node.Has(attribute) ? node.Float(attribute, 0) : otherwise;

    public OnnxOperand Make(string op, params IReadOnlyList<OnnxOperand?> operands) => emit.Node(op, new OpSettings(), operands);

    /// <summary>The same value, called by another type.</summary>
    public static OnnxOperand Typed(OnnxOperand x, OnnxType type) => x.Type == type || x.IsConstant ? x
        : new OnnxOperand { Name = x.Name, Type = type, Value = x.Value, More = x.More, IsWeight = x.IsWeight, Codes = x.Codes, FewBits = x.FewBits };

    private OnnxOperand? Constant(int operand) => Optional(operand) is not { } x ? null : x.IsConstant ? x
        : throw new InvalidDataException($"its operand {operand} is computed by the network; only a constant is read there");
}
