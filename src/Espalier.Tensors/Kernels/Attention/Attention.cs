using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Multi-head attention over ragged rows: out = softmax(q kᵀ * scale) v for each image and head, never across images
/// (Vaswani et al. 2017, eq. 1). Matrices are [R, D] by rows with their own leading dimensions, so that q, k and v may be
/// three column blocks of one [R, 3D]; <see cref="AttentionHeads"/> says which rows and columns a head has. An image without
/// rows is skipped. Nothing is allocated after a thread's first call. Results do not depend on the number of threads.
/// </summary>
internal static unsafe class Attention
{
    /// <summary>The forward pass.</summary>
    /// <param name="heads">Images, heads and the scale.</param>
    /// <param name="q">[R, D], leading dimension <paramref name="ldq"/>; likewise k and v.</param>
    /// <param name="output">[R, D], written; must not overlap the inputs.</param>
    /// <param name="softmax">[R, heads, 2]: for each row and head the largest score, in units of log 2, and the sum of the
    /// powers of two relative to it, which <see cref="Backward"/> needs; null where they are not wanted. Apart: the logarithm
    /// of a sum of exponentials, next to a large score, would have no digits left for the sum.</param>
    public static void Forward(
        in AttentionHeads heads, float* q, nint ldq, float* k, nint ldk, float* v, nint ldv,
        float* output, nint ldo, float* softmax = null)
    {
        if (Hardware.Has512) Forward<Simd512, Vector512<float>>(heads, q, ldq, k, ldk, v, ldv, output, ldo, softmax);
        else if (Hardware.Has256) Forward<Simd256, Vector256<float>>(heads, q, ldq, k, ldk, v, ldv, output, ldo, softmax);
        else Forward<Simd128, Vector128<float>>(heads, q, ldq, k, ldk, v, ldv, output, ldo, softmax);
    }

    /// <summary>
    /// The gradients. With p the probabilities, computed again bit by bit as the forward pass did: dv = pᵀ dOut, dp = dOut vᵀ,
    /// ds = p * (dp - rowsum(dOut * out)), dq = ds k * scale, dk = dsᵀ q * scale (Dao et al. 2022, appendix B).
    /// </summary>
    /// <param name="output">[R, D]: what <see cref="Forward"/> wrote; likewise <paramref name="softmax"/> [R, heads, 2].</param>
    /// <param name="dOut">[R, D]: gradient of the output.</param>
    /// <param name="dq">[R, D], written, not added to; likewise dk and dv. They must not overlap the inputs.</param>
    public static void Backward(
        in AttentionHeads heads, float* q, nint ldq, float* k, nint ldk, float* v, nint ldv,
        float* output, nint ldo, float* softmax, float* dOut, nint lddo,
        float* dq, nint lddq, float* dk, nint lddk, float* dv, nint lddv)
    {
        var operands = new BackwardOperands
        {
            Q = q, K = k, V = v, Out = output, Softmax = softmax, DOut = dOut, DQ = dq, DK = dk, DV = dv,
            LdQ = ldq, LdK = ldk, LdV = ldv, LdOut = ldo, LdDOut = lddo, LdDQ = lddq, LdDK = lddk, LdDV = lddv,
        };
        if (Hardware.Has512) Backward<Simd512, Vector512<float>>(heads, operands);
        else if (Hardware.Has256) Backward<Simd256, Vector256<float>>(heads, operands);
        else Backward<Simd128, Vector128<float>>(heads, operands);
    }

    /// <summary>Attention of a few query rows an image (the class token's, the distillation token's), for a last block of
    /// which nothing else is used.</summary>
    /// <param name="queries">Query rows of each image.</param>
    /// <param name="q">[images * queries, D]; k and v [R, D] as in <see cref="Forward"/>.</param>
    /// <param name="output">[images * queries, D], written, but not where an image has no rows.</param>
    public static void ForwardPrefix(
        in AttentionHeads heads, int queries, float* q, nint ldq, float* k, nint ldk, float* v, nint ldv,
        float* output, nint ldo)
    {
        // A head is read in place, unpadded: take the widest vectors that fit it.
        bool by16 = heads.Width % 16 == 0, by8 = heads.Width % 8 == 0;
        if (Hardware.Has512 && by16) Prefix<Simd512, Vector512<float>>(heads, queries, q, ldq, k, ldk, v, ldv, output, ldo);
        else if (Hardware.Has256 && by8) Prefix<Simd256, Vector256<float>>(heads, queries, q, ldq, k, ldk, v, ldv, output, ldo);
        else Prefix<Simd128, Vector128<float>>(heads, queries, q, ldq, k, ldk, v, ldv, output, ldo);
    }

    /// <summary>The gradients of <see cref="ForwardPrefix"/>.</summary>
    /// <param name="queries">Query rows of each image.</param>
    /// <param name="q">[images * queries, D]; k and v [R, D] as in <see cref="Forward"/>.</param>
    /// <param name="dOut">[images * queries, D]: gradient of the output.</param>
    /// <param name="dq">[images * queries, D], written, but not where an image has no rows.</param>
    /// <param name="dk">[R, D], written; likewise dv.</param>
    public static void BackwardPrefix(
        in AttentionHeads heads, int queries, float* q, nint ldq, float* k, nint ldk, float* v, nint ldv,
        float* dOut, nint lddo, float* dq, nint lddq, float* dk, nint lddk, float* dv, nint lddv)
    {
        var x = new BackwardOperands
        {
            Q = q, K = k, V = v, DOut = dOut, DQ = dq, DK = dk, DV = dv,
            LdQ = ldq, LdK = ldk, LdV = ldv, LdDOut = lddo, LdDQ = lddq, LdDK = lddk, LdDV = lddv,
        };
        int grain = PrefixGrain(heads, 3 * queries);
        bool by16 = heads.Width % 16 == 0, by8 = heads.Width % 8 == 0;
        if (Hardware.Has512 && by16)
            Workers.For(heads.Images, grain, new AttentionPrefixBackward<Simd512, Vector512<float>>(heads, queries, x));
        else if (Hardware.Has256 && by8)
            Workers.For(heads.Images, grain, new AttentionPrefixBackward<Simd256, Vector256<float>>(heads, queries, x));
        else Workers.For(heads.Images, grain, new AttentionPrefixBackward<Simd128, Vector128<float>>(heads, queries, x));
    }

    private static void Forward<S, V>(
        in AttentionHeads heads, float* q, nint ldq, float* k, nint ldk, float* v, nint ldv,
        float* output, nint ldo, float* softmax)
        where S : ISimd<V> where V : struct
    {
        int grain = heads.Grain;
        int cuts = grain > 1 || heads.Pairs == 0 ? 1 : (Workers.Available + heads.Pairs - 1) / heads.Pairs;
        var job = new AttentionForward<S, V>
        {
            Heads = heads, Q = q, K = k, Values = v, Out = output, Softmax = softmax,
            LdQ = ldq, LdK = ldk, LdV = ldv, LdOut = ldo, Cuts = cuts,
        };
        Workers.For(heads.Pairs * cuts, grain, job);
    }

    private static void Backward<S, V>(in AttentionHeads heads, in BackwardOperands operands)
        where S : ISimd<V> where V : struct =>
        Workers.For(heads.Pairs, heads.Grain, new AttentionBackward<S, V>(heads, operands));

    private static void Prefix<S, V>(
        in AttentionHeads heads, int queries, float* q, nint ldq, float* k, nint ldk, float* v, nint ldv,
        float* output, nint ldo)
        where S : ISimd<V> where V : struct
    {
        var job = new AttentionPrefix<S, V>
        {
            Heads = heads, Queries = queries, Q = q, K = k, Values = v, Out = output,
            LdQ = ldq, LdK = ldk, LdV = ldv, LdOut = ldo,
        };
        Workers.For(heads.Images, PrefixGrain(heads, queries), job);
    }

    // The fewest images worth a thread: some 10 microseconds.
    private static int PrefixGrain(in AttentionHeads heads, int queries)
    {
        double tokens = (double)heads.Rows / Math.Max(1, heads.Images);
        return (int)Math.Clamp(1e5 / (tokens * heads.Count * heads.Width * queries + 1), 1, 1 << 20);
    }
}
