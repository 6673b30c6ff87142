using System.Numerics.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Rows of an image put together at the places that a plan says: their sum, or their mean by weights.</summary>
internal static unsafe class RowMerging
{
    /// <summary>Whether every place of a plan is one of its image.</summary>
    /// <param name="before">[images + 1] first rows; <paramref name="after"/> those of what is left.</param>
    /// <param name="plan">Places, <paramref name="ldp"/> floats apart.</param>
    public static bool IsWithin(int* before, int* after, int images, float* plan, nint ldp)
    {
        for (int b = 0; b < images; b++)
        {
            int left = after[b + 1] - after[b];
            for (nint i = before[b]; i < before[b + 1]; i++)
                if (!(plan[i * ldp] >= 0 && plan[i * ldp] < left)) return false;
        }
        return true;
    }

    /// <summary>y[p] = Σ x[i], or Σ w[i] x[i] / Σ w[i], over the rows i that go to p. A row alone stays as it is.</summary>
    /// <param name="weights">One a row, <paramref name="ldw"/> floats apart; null where each counts as 1.</param>
    /// <param name="from">[rows left] the first row that goes to each, written; -1 where none does.</param>
    public static void Run(int* before, int* after, int images, float* x, nint ldx, int width, float* plan, nint ldp,
        float* weights, nint ldw, bool mean, float* y, nint ldy, int* from) =>
        Workers.For(images, 1, new Job(before, after, x, ldx, width, plan, ldp, weights, ldw, mean, y, ldy, from));

    private readonly struct Job(int* before, int* after, float* x, nint ldx, int width, float* plan, nint ldp, float* weights,
        nint ldw, bool mean, float* y, nint ldy, int* from) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int b = start; b < end; b++) Image(before[b], before[b + 1], after[b], after[b + 1] - after[b]);
        }

        private void Image(int first, int last, int target, int left)
        {
            // Rows that come to a place, and their weights together.
            float* counts = Scratch.Rent(2 * left), sums = counts + left;
            new Span<float>(counts, 2 * left).Clear();
            for (int p = 0; p < left; p++) from[target + p] = -1;
            for (nint i = first; i < last; i++)
            {
                int p = (int)plan[i * ldp];
                counts[p]++;
                sums[p] += Weight(i);
                if (from[target + p] < 0) from[target + p] = (int)i;
            }
            for (nint i = first; i < last; i++)
            {
                int p = (int)plan[i * ldp];
                ReadOnlySpan<float> row = new(x + i * ldx, width);
                Span<float> sum = new(y + (target + p) * ldy, width);
                float weight = mean && counts[p] > 1 ? Weight(i) : 1;
                if (from[target + p] == i) TensorPrimitives.Multiply(row, weight, sum);
                else TensorPrimitives.MultiplyAdd(row, weight, sum, sum);
            }
            for (int p = 0; p < left; p++)
            {
                Span<float> sum = new(y + (target + p) * ldy, width);
                if (counts[p] == 0) sum.Clear();
                else if (mean && counts[p] > 1) TensorPrimitives.Divide(sum, sums[p], sum);
            }
        }

        private float Weight(nint row) => weights == null ? 1 : weights[row * ldw];
    }
}
