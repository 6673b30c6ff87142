using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// A value of a file while it is read: a constant, or what the network computes. Nothing may depend on the number of images but
/// the length of axes, so each is known for two images and for three: what is the same for both is a constant, what grows as they
/// do is a number of images, and anything else is refused.
/// </summary>
internal sealed class OnnxOperand
{
    private OnnxArray? two, three;

    /// <summary>Of the file.</summary>
    public required string Name { get; init; }

    public required OnnxType Type { get; init; }

    /// <summary>A constant that is still as the file has it.</summary>
    public OnnxSourceTensor? Stored { get; init; }

    /// <summary>Whether it is an initialiser or made of one by moving numbers: a weight, to be trained.</summary>
    public bool IsWeight { get; init; }

    /// <summary>What the network computes; null for constants.</summary>
    public GraphValue? Value { get; init; }

    /// <summary>The shape of what is computed where there are three images.</summary>
    public Tensor? More { get; init; }

    /// <summary>Of codes that the network computes, what they stand for.</summary>
    public OnnxCodes? Codes { get; init; }

    /// <summary>Of a weight that the file holds as codes, those.</summary>
    public OnnxFewBits? FewBits { get; init; }

    public bool IsConstant => Value is null;

    /// <summary>Whether a constant is another one for another number of images.</summary>
    public bool Varies => three is not null && three != two;

    public static OnnxOperand Constant(string name, OnnxArray two, OnnxArray? three = null, bool isWeight = false) =>
        new() { Name = name, Type = two.Type, two = two, three = three is null || three.SameAs(two) ? two : three,
            IsWeight = isWeight };

    /// <summary>The constant under another name: a weight of its own.</summary>
    public OnnxOperand Named(string name) =>
        new() { Name = name, Type = Type, Stored = Stored, IsWeight = IsWeight, two = two, three = three };

    /// <summary>A constant, for two images and for three.</summary>
    public OnnxArray Two => two ??= Read();

    /// <inheritdoc cref="Two"/>
    public OnnxArray Three => three ?? Two;

    /// <summary>The shape with two images.</summary>
    public int[] Dims => Value is not null ? Value.Shape.ToArray() : Stored?.Shape ?? Two.Dims;

    /// <summary>The shape with three images.</summary>
    public int[] DimsOfThree => Value is not null ? More!.Shape.ToArray() : Stored?.Shape ?? Three.Dims;

    public int Rank => Dims.Length;

    /// <summary>A constant of one number, the same for any number of images.</summary>
    public double? Scalar => IsConstant && (Stored?.Count ?? Two.Values.Length) == 1 && !Varies ? Two.Values[0] : null;

    private OnnxArray Read()
    {
        if (Stored!.Count > OnnxArray.Most)
            throw new InvalidDataException($"the constant {Formats.ReadGuard.Quote(Name)} is too large to be computed with");
        var values = new double[Stored.Count];
        byte[] raw = Stored.Raw;
        for (int i = 0; i < values.Length; i++) values[i] = Stored.At(i, raw);
        return new OnnxArray(Type, Stored.Shape, values);
    }
}
