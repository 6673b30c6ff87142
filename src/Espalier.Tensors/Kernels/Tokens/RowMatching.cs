using System.Numerics.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Bipartite soft matching (Bolya et al., arXiv 2210.09461, section 3): rows of an image are by turns of set A and of set B, each
/// of A is matched with the row of B most like it, and the rows of A with the best matches are merged into them.
/// </summary>
internal static unsafe class RowMatching
{
    /// <summary>How many rows of an image are left.</summary>
    /// <param name="count">To be merged away: no more than half of those behind the prefix.</param>
    public static int Left(int rows, int count, int prefix) => rows - Math.Clamp((rows - prefix) / 2, 0, count);

    /// <summary>
    /// Where each row goes among what is left of its image: the first <paramref name="prefix"/> rows, which are never merged,
    /// then what is left of A, then B.
    /// </summary>
    /// <param name="images">[images + 1] first rows.</param>
    /// <param name="x">[rows, columns], <paramref name="ld"/> floats apart.</param>
    /// <param name="heads">Rows are compared by the mean over so many heads of <paramref name="width"/> columns.</param>
    /// <param name="places">A number for each row, <paramref name="ldp"/> floats apart, written.</param>
    public static void Run(int* starts, int images, float* x, nint ld, int heads, int width, int count, int prefix,
        float* places, nint ldp) =>
        Workers.For(images, 1, new Job(starts, x, ld, heads, width, count, prefix, places, ldp));

    private readonly struct Job(int* starts, float* x, nint ld, int heads, int width, int count, int prefix, float* places,
        nint ldp)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int b = start; b < end; b++) Image(x + starts[b] * ld, starts[b + 1] - starts[b], places + starts[b] * ldp);
        }

        private void Image(float* rows, int tokens, float* target)
        {
            int merged = tokens - Left(tokens, count, prefix), half = (tokens + 1) / 2, others = tokens / 2;
            float* a = Scratch.Rent((nint)tokens * width + (nint)half * others + 2 * half);
            float* b = a + (nint)half * width, likeness = b + (nint)others * width, best = likeness + (nint)half * others;
            int* match = (int*)(best + half);
            if (merged > 0)
            {
                for (int i = 0; i < tokens; i++) Direction(rows + i * ld, (i % 2 == 0 ? a : b) + (nint)(i / 2) * width);
                // On this thread alone, in one order, whatever other images there are.
                var product = new Product
                {
                    Tiles = KernelInfo.Tiles, M = half, N = others, K = width, TransB = true, A = a, Lda = width, B = b, Ldb = width,
                    C = likeness, Ldc = others,
                };
                Region.Run(product, new Range(0, half), new Range(0, others), new Range(0, width));
                int first = prefix / 2;
                for (int i = 0; i < half; i++)
                {
                    var row = new ReadOnlySpan<float>(likeness + (nint)i * others + first, others - first);
                    int nearest = TensorPrimitives.IndexOfMax(row);
                    (best[i], match[i]) = (row[nearest], 2 * (first + nearest) + 1);
                }
            }
            for (int i = 0; i < tokens; i++) target[i * ldp] = -1;
            // The best first, of equals the first.
            for (int n = 0; n < merged; n++)
            {
                int next = -1;
                for (int i = 0; i < tokens; i += 2)
                    if (i >= prefix && target[i * ldp] == -1 && (next < 0 || best[i / 2] > best[next / 2])) next = i;
                target[next * ldp] = -2 - match[next / 2];
            }
            int place = 0;
            for (int i = 0; i < Math.Min(prefix, tokens); i++) target[i * ldp] = place++;
            for (int set = 0; set < 2; set++)
                for (int i = set; i < tokens; i += 2) if (target[i * ldp] == -1) target[i * ldp] = place++;
            for (int i = 0; i < tokens; i += 2)
                if (target[i * ldp] < 0) target[i * ldp] = target[(nint)(-2 - target[i * ldp]) * ldp];
        }

        /// <summary>What a row is compared by, of length 1.</summary>
        private void Direction(float* x, float* target)
        {
            var row = new Span<float>(target, width);
            new ReadOnlySpan<float>(x, width).CopyTo(row);
            for (int n = 1; n < heads; n++) TensorPrimitives.Add(row, new ReadOnlySpan<float>(x + n * width, width), row);
            float norm = TensorPrimitives.Norm<float>(row);
            if (norm > 0) TensorPrimitives.Divide(row, norm, row);
        }
    }
}
