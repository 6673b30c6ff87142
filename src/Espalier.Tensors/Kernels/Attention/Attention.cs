using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Multi-head attention over ragged rows: out = softmax(q kᵀ * scale + bias) v for each image and head, never across images
/// (Vaswani et al. 2017, eq. 1). Matrices have one head after another in their columns and their own leading dimensions, so
/// that q, k and v may be three column blocks of one; <see cref="AttentionHeads"/> says which rows and columns a head has.
/// Where nothing is seen, because an image has no keys or all are hidden, out is 0. Nothing is allocated after a thread's
/// first call. Results do not depend on the number of threads.
/// </summary>
internal static unsafe class Attention
{
    /// <summary>The forward pass.</summary>
    /// <param name="heads">Images, heads and the scale.</param>
    /// <param name="bias">What is added to the scores.</param>
    /// <param name="q">[query rows, query columns], leading dimension <paramref name="ldq"/>; k [key rows, query columns] and
    /// v [key rows, value columns] likewise.</param>
    /// <param name="output">[query rows, value columns], written; must not overlap the inputs.</param>
    /// <param name="softmax">[query rows, heads, 2]: for each row and head the largest score, in units of log 2, and the sum of
    /// the powers of two relative to it, which <see cref="Backward"/> needs; null where they are not wanted. Apart: the logarithm
    /// of a sum of exponentials, next to a large score, would have no digits left for the sum.</param>
    /// <param name="probabilities">How they are rounded before they meet the values; then softmax is null.</param>
    public static void Forward(
        in AttentionHeads heads, in AttentionBias bias, float* q, nint ldq, float* k, nint ldk, float* v, nint ldv,
        float* output, nint ldo, float* softmax = null, ProbabilityRange? probabilities = null)
    {
        int few = bias.IsEmpty && probabilities is null ? heads.ImagesOfFewQueries : 0;
        if (few > 0) Few(heads, q, ldq, k, ldk, v, ldv, output, ldo);
        if (few == heads.Images) return;
        if (Hardware.Has512)
            Many<Simd512, Vector512<float>>(heads, bias, few > 0, q, ldq, k, ldk, v, ldv, output, ldo, softmax, probabilities);
        else if (Hardware.Has256)
            Many<Simd256, Vector256<float>>(heads, bias, few > 0, q, ldq, k, ldk, v, ldv, output, ldo, softmax, probabilities);
        else
            Many<Simd128, Vector128<float>>(heads, bias, few > 0, q, ldq, k, ldk, v, ldv, output, ldo, softmax, probabilities);
    }

    /// <summary>
    /// The gradients. With p the probabilities, computed again bit by bit as the forward pass did: dv = pᵀ dOut, dp = dOut vᵀ,
    /// ds = p * (dp - rowsum(dOut * out)), dq = ds k * scale, dk = dsᵀ q * scale (Dao et al. 2022, appendix B).
    /// </summary>
    /// <param name="bias">As in the forward pass, and where its gradients go.</param>
    /// <param name="x">q, k, v, out and softmax as in <see cref="Forward"/>; dOut like out; dq, dk and dv like q, k and v,
    /// written, not added to. They must not overlap the inputs.</param>
    public static void Backward(in AttentionHeads heads, in AttentionBias bias, in BackwardOperands x)
    {
        int few = bias.IsEmpty ? heads.ImagesOfFewQueries : 0;
        if (few > 0) Few(heads, x);
        if (few == heads.Images) return;
        if (Hardware.Has512) Many(heads, new AttentionBackward<Simd512, Vector512<float>>(heads, bias, few > 0, x));
        else if (Hardware.Has256) Many(heads, new AttentionBackward<Simd256, Vector256<float>>(heads, bias, few > 0, x));
        else Many(heads, new AttentionBackward<Simd128, Vector128<float>>(heads, bias, few > 0, x));
    }

    private static void Many<S, V>(
        in AttentionHeads heads, in AttentionBias bias, bool withoutFew, float* q, nint ldq, float* k, nint ldk,
        float* v, nint ldv, float* output, nint ldo, float* softmax, ProbabilityRange? probabilities)
        where S : ISimd<V> where V : struct
    {
        int grain = heads.Grain;
        int cuts = grain > 1 || heads.Pairs == 0 ? 1 : (Workers.Available + heads.Pairs - 1) / heads.Pairs;
        var job = new AttentionForward<S, V>
        {
            Heads = heads, Bias = bias, WithoutFew = withoutFew, Q = q, K = k, Values = v, Out = output, Softmax = softmax,
            LdQ = ldq, LdK = ldk, LdV = ldv, LdOut = ldo, Cuts = cuts, Probabilities = probabilities,
        };
        Workers.For(heads.Pairs * cuts, grain, job);
    }

    private static void Many<S, V>(in AttentionHeads heads, in AttentionBackward<S, V> job)
        where S : ISimd<V> where V : struct =>
        Workers.For(job.Items, job.Items == heads.Pairs ? heads.Grain : 1, job);

    // A head is read in place, unpadded: take the widest vectors that fit it.
    private static void Few(
        in AttentionHeads heads, float* q, nint ldq, float* k, nint ldk, float* v, nint ldv, float* output, nint ldo)
    {
        if (Hardware.Has512 && heads.AreMultiplesOf(16))
            Few<Simd512, Vector512<float>>(heads, q, ldq, k, ldk, v, ldv, output, ldo);
        else if (Hardware.Has256 && heads.AreMultiplesOf(8))
            Few<Simd256, Vector256<float>>(heads, q, ldq, k, ldk, v, ldv, output, ldo);
        else Few<Simd128, Vector128<float>>(heads, q, ldq, k, ldk, v, ldv, output, ldo);
    }

    private static void Few(in AttentionHeads heads, in BackwardOperands x)
    {
        int grain = FewGrain(heads, 3);
        if (Hardware.Has512 && heads.AreMultiplesOf(16))
            Workers.For(heads.Images, grain, new AttentionPrefixBackward<Simd512, Vector512<float>>(heads, x));
        else if (Hardware.Has256 && heads.AreMultiplesOf(8))
            Workers.For(heads.Images, grain, new AttentionPrefixBackward<Simd256, Vector256<float>>(heads, x));
        else Workers.For(heads.Images, grain, new AttentionPrefixBackward<Simd128, Vector128<float>>(heads, x));
    }

    private static void Few<S, V>(
        in AttentionHeads heads, float* q, nint ldq, float* k, nint ldk, float* v, nint ldv, float* output, nint ldo)
        where S : ISimd<V> where V : struct
    {
        var job = new AttentionPrefix<S, V>
        {
            Heads = heads, Q = q, K = k, Values = v, Out = output, LdQ = ldq, LdK = ldk, LdV = ldv, LdOut = ldo,
        };
        Workers.For(heads.Images, FewGrain(heads, 1), job);
    }

    // The fewest images worth a thread: some 10 microseconds.
    private static int FewGrain(in AttentionHeads heads, int passes)
    {
        double images = Math.Max(1, heads.Images), keys = (heads.Keys[heads.Images] - heads.Keys[0]) / images;
        double queries = (heads.Queries[heads.Images] - heads.Queries[0]) / images;
        double columns = (heads.QueryColumns[heads.Count] + heads.ValueColumns[heads.Count]) / 2.0;
        return (int)Math.Clamp(1e5 / (keys * columns * passes * queries + 1), 1, 1 << 20);
    }
}
