using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>y = x / (1 + e^-x), also called swish. x of any shape -> y of the same shape.</summary>
public sealed class SiluOp(Tensor x) : UnaryOp(x)
{
    public override string Name => "Silu";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y)
    {
        TensorPrimitives.Sigmoid(x, y);
        TensorPrimitives.Multiply(x, y, y);
    }

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d)
    {
        TensorPrimitives.Sigmoid(x, d);
        BlockMap.Run(default(Slope), x, d, d);
    }

    // With s = sigmoid(x): s (1 + x (1 - s)).
    private readonly struct Slope : IBinaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V x, V s) where S : ISimd<V> where V : struct =>
            S.Mul(s, S.Fma(x, S.Sub(S.Set(1), s), S.Set(1)));
    }
}

public static partial class F
{
    /// <inheritdoc cref="SiluOp"/>
    public static Tensor Silu(Tensor x) => new SiluOp(x).Run();
}
