using System.Numerics.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>How one query of each image shares its attention among the image's keys, the mean over the heads.</summary>
internal static unsafe class ClassShares
{
    /// <param name="heads">Queries of one row an image; keys of any number.</param>
    /// <param name="y">A number of each key row, <paramref name="ldy"/> floats apart, written.</param>
    /// <param name="softmax">[key rows, heads]: what each head gives; null where it is not wanted.</param>
    public static void Forward(in AttentionHeads heads, float* q, nint ldq, float* k, nint ldk, float* y, nint ldy,
        float* softmax) =>
        Workers.For(heads.Images, 1, new ForwardJob(heads, q, ldq, k, ldk, y, ldy, softmax));

    /// <summary>The gradients of contiguous q, k and y; dq and dk are added to, and may be null.</summary>
    public static void Backward(in AttentionHeads heads, float* q, float* k, float* softmax, float* dy, float* dq, float* dk) =>
        Workers.For(heads.Images, 1, new BackwardJob(heads, q, k, softmax, dy, dq, dk));

    private readonly struct ForwardJob(AttentionHeads heads, float* q, nint ldq, float* k, nint ldk, float* y, nint ldy,
        float* softmax)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int b = start; b < end; b++)
            {
                int first = heads.Keys[b], keys = heads.Keys[b + 1] - first;
                if (keys == 0) continue;
                var scores = new Span<float>(Scratch.Rent(keys), keys);
                for (int j = 0; j < keys; j++) y[(first + j) * ldy] = 0;
                for (int n = 0; n < heads.Count; n++)
                {
                    int column = heads.QueryColumns[n], width = heads.QueryWidth(n);
                    var query = new ReadOnlySpan<float>(q + heads.Queries[b] * ldq + column, width);
                    for (int j = 0; j < keys; j++)
                    {
                        var key = new ReadOnlySpan<float>(k + (first + j) * ldk + column, width);
                        scores[j] = TensorPrimitives.Dot(query, key) * heads.Scale;
                    }
                    TensorPrimitives.Subtract(scores, TensorPrimitives.Max<float>(scores), scores);
                    TensorPrimitives.Exp(scores, scores);
                    TensorPrimitives.Divide(scores, TensorPrimitives.Sum<float>(scores), scores);
                    for (int j = 0; j < keys; j++) y[(first + j) * ldy] += scores[j] / heads.Count;
                    for (int j = 0; softmax != null && j < keys; j++) softmax[(nint)(first + j) * heads.Count + n] = scores[j];
                }
            }
        }
    }

    private readonly struct BackwardJob(AttentionHeads heads, float* q, float* k, float* softmax, float* dy, float* dq, float* dk)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            nint ld = heads.QueryColumns[heads.Count];
            for (int b = start; b < end; b++)
            {
                int first = heads.Keys[b], last = heads.Keys[b + 1];
                for (int n = 0; n < heads.Count; n++)
                {
                    nint column = heads.QueryColumns[n], query = heads.Queries[b] * ld + column;
                    int width = heads.QueryWidth(n);
                    float mean = 0;
                    for (int j = first; j < last; j++) mean += softmax[(nint)j * heads.Count + n] * dy[j];
                    for (int j = first; j < last; j++)
                    {
                        float d = softmax[(nint)j * heads.Count + n] * (dy[j] - mean) * heads.Scale / heads.Count;
                        nint key = j * ld + column;
                        if (dq != null) Add(k + key, d, dq + query, width);
                        if (dk != null) Add(q + query, d, dk + key, width);
                    }
                }
            }
        }

        private static void Add(float* x, float factor, float* sums, int width) => TensorPrimitives.MultiplyAdd(
            new ReadOnlySpan<float>(x, width), factor, new ReadOnlySpan<float>(sums, width), new Span<float>(sums, width));
    }
}
