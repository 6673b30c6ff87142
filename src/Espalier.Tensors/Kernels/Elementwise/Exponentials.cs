using System.Numerics.Tensors;

namespace Espalier.Tensors.Kernels;

/// <summary>The part that softmax, log-softmax and cross-entropy share: exp(z - max z) and its sum over a row.</summary>
internal static class Exponentials
{
    /// <summary>Writes exp(z - max) and returns the sum of it: log Σ exp z = <paramref name="max"/> + log of the result.</summary>
    public static float Run(ReadOnlySpan<float> z, Span<float> exp, out float max)
    {
        max = TensorPrimitives.Max(z);
        TensorPrimitives.Subtract(z, max, exp);
        TensorPrimitives.Exp(exp, exp);
        return TensorPrimitives.Sum<float>(exp);
    }
}
