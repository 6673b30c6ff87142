using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Products of matrices: with a weight they are linear layers.</summary>
internal static class OnnxReadProducts
{
    /// <summary>alpha A B + beta C, A and B perhaps turned.</summary>
    public static OnnxOperand Gemm(OnnxReadCall call)
    {
        OnnxOperand a = call[0], b = call[1];
        OnnxEmitter emit = call.Emit;
        bool turnA = call.Node.Int("transA", 0) != 0, turnB = call.Node.Int("transB", 0) != 0;
        float alpha = call.Node.Float("alpha", 1), beta = call.Node.Float("beta", 1);
        if (a.Rank != 2 || b.Rank != 2) throw new InvalidDataException("its operands are no matrices");
        bool linear = (b.IsConstant || b.FewBits is not null) && !turnA;
        OnnxOperand? c = call.Optional(2);
        bool plain = c is null || (c is { Dims: [var n] } && (c.IsConstant || c.IsWeight) && n == b.Dims[turnB ? 0 : 1]);
        if (linear && alpha == 1 && beta == 1 && plain)
            return Linear(emit, a, Weight(emit, b, !turnB), c);
        OnnxOperand y = linear ? Linear(emit, a, Weight(emit, b, !turnB), null) : emit.MatMul(a, b, turnA, turnB);
        y = emit.Affine(y, alpha, 0);
        if (c is null || beta == 0) return y;
        if (c.Scalar is { } one) return emit.Affine(y, 1, beta * one);
        return call.Make("Add", y, beta == 1 ? c : emit.Affine(c, beta, 0));
    }

    /// <summary>As numpy multiplies: axes before the last two are a batch, which is repeated where it must be.</summary>
    public static OnnxOperand MatMul(OnnxReadCall call, OnnxOperand a, OnnxOperand b)
    {
        OnnxEmitter emit = call.Emit;
        if (a.Rank == 0 || b.Rank == 0) throw new InvalidDataException("its operands are no matrices");
        if (a is { IsConstant: false } && b is { FewBits: not null, Rank: 2 }) return Linear(emit, a, Weight(emit, b, transposed: true), null);
        if (a is { IsConstant: false } && b is { IsConstant: true, Rank: 2, Varies: false }) return Linear(emit, a, emit.Transposed(b), null);
        if (a is { IsConstant: true, Rank: 2, Varies: false } && b.Rank >= 2 && !b.IsConstant)
            return Turned(emit, Linear(emit, Turned(emit, b), emit.Weight(a), null));
        if (a.IsConstant) a = emit.Weight(a);
        if (b.IsConstant) b = emit.Weight(b);
        if (a.Rank == 1) return Without(call, MatMul(call, emit.Reshape(a, [1, a.Dims[0]], [1, a.DimsOfThree[0]]), b), -2);
        if (b.Rank == 1) return Without(call, MatMul(call, a, emit.Reshape(b, [b.Dims[0], 1], [b.DimsOfThree[0], 1])), -1);
        int[] two = OnnxArray.Joint(a.Dims[..^2], b.Dims[..^2]), three = OnnxArray.Joint(a.DimsOfThree[..^2], b.DimsOfThree[..^2]);
        a = OnnxReadShapes.Broadcast(call, a, [.. two, .. a.Dims[^2..]], [.. three, .. a.DimsOfThree[^2..]]);
        b = OnnxReadShapes.Broadcast(call, b, [.. two, .. b.Dims[^2..]], [.. three, .. b.DimsOfThree[^2..]]);
        return emit.MatMul(a, b);
    }

    public static OnnxOperand Linear(OnnxEmitter emit, OnnxOperand x, OnnxOperand weight, OnnxOperand? bias) =>
        emit.Node("Linear", new OpSettings().Set("gelu", false), x, weight, bias);

    /// <summary>A matrix of the file, as it is or turned.</summary>
    private static OnnxOperand Weight(OnnxEmitter emit, OnnxOperand b, bool transposed) => b.FewBits is { } codes ? codes.Read(emit, transposed)
        : transposed ? emit.Transposed(b) : emit.Weight(b);

    /// <summary>The last two axes change places.</summary>
    public static OnnxOperand Turned(OnnxEmitter emit, OnnxOperand x) =>
        emit.Permute(x, [.. Enumerable.Range(0, x.Rank - 2), x.Rank - 1, x.Rank - 2]);

    private static OnnxOperand Without(OnnxReadCall call, OnnxOperand x, int axis)
    {
        List<int> two = [.. x.Dims], three = [.. x.DimsOfThree];
        two.RemoveAt(two.Count + axis);
        three.RemoveAt(three.Count + axis);
        return call.Emit.Reshape(x, [.. two], [.. three]);
    }
}
