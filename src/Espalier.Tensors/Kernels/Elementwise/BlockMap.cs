namespace Espalier.Tensors.Kernels;

/// <summary><see cref="Map"/> on the spans of a block.</summary>
internal static unsafe class BlockMap
{
    /// <summary>y[i] = op(x[i]).</summary>
    public static void Run<TMap>(in TMap op, ReadOnlySpan<float> x, Span<float> y)
        where TMap : struct, IUnaryMap
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(y.Length, x.Length);
        fixed (float* from = x, to = y) Map.Unary(op, from, to, x.Length);
    }

    /// <summary>z[i] = op(x[i], y[i]).</summary>
    public static void Run<TMap>(in TMap op, ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> z)
        where TMap : struct, IBinaryMap
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(y.Length, x.Length);
        ArgumentOutOfRangeException.ThrowIfNotEqual(z.Length, x.Length);
        fixed (float* a = x, b = y, to = z) Map.Binary(op, a, b, to, x.Length);
    }
}
