using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Inverse transform sampling of rows (Fayyaz et al., arXiv 2111.15667, section 3.2) at regular levels: the scores in rising
/// order add up to a curve from 0 to 1, and for each level the row that comes nearest to it is taken. Peaked scores give few
/// rows.
/// </summary>
internal static unsafe class RowSampling
{
    /// <summary>places[i] = 1 for the first <paramref name="prefix"/> rows of an image and for rows that are taken, else
    /// 0.</summary>
    /// <param name="scores">One a row, <paramref name="lds"/> floats apart; <paramref name="picks"/> likewise.</param>
    /// <param name="levels">At least 1.</param>
    public static void Run(int* starts, int images, float* scores, nint lds, int levels, int prefix, float* picks, nint ldp) =>
        Workers.For(images, 1, new Job(starts, scores, lds, levels, prefix, picks, ldp));

    private readonly struct Job(int* starts, float* scores, nint lds, int levels, int prefix, float* picks, nint ldp) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int b = start; b < end; b++)
            {
                int first = Math.Min(starts[b] + prefix, starts[b + 1]), rows = starts[b + 1] - first;
                for (nint i = starts[b]; i < first; i++) picks[i * ldp] = 1;
                if (rows > 0) Image(scores + first * lds, rows, picks + first * ldp);
            }
        }

        private void Image(float* score, int rows, float* pick)
        {
            // Scores in rising order, of equals the first one first: their bits above their row's number.
            float* memory = Scratch.Rent(3 * rows + 1);
            var order = new Span<long>((long*)memory, rows);
            float* curve = memory + 2 * rows;
            for (int i = 0; i < rows; i++)
            {
                int bits = BitConverter.SingleToInt32Bits(score[i * lds]);
                order[i] = (long)(bits ^ (bits >> 31 & int.MaxValue)) << 32 | (uint)i;
                pick[i * ldp] = 0;
            }
            order.Sort();
            float sum = 0;
            for (int i = 0; i < rows; i++) curve[i] = sum += score[(int)order[i] * lds];
            float low = curve[0], span = curve[rows - 1] - low;
            if (!(span > 0))
            {
                // All of it is one row's, or nothing is known.
                for (int i = 0; i < rows; i++) pick[i * ldp] = 1;
                return;
            }
            float begin = 1;
            for (int i = rows - 1; i >= 0; i--)
            {
                curve[i] = (curve[i] - low) / span;
                if (curve[i] > 0) begin = curve[i];
            }
            // j: the first point of the curve that is not below the level; before: the first of those that are as high as the
            // last one below it.
            int j = 0, before = 0;
            for (int n = 0; n < levels; n++)
            {
                float level = n == 0 ? begin : begin + (1 - begin) / (levels - 1) * n;
                while (j < rows - 1 && curve[j] < level)
                {
                    if (curve[j] > curve[before]) before = j;
                    j++;
                }
                int nearest = j > 0 && level - curve[before] <= curve[j] - level ? before : j;
                pick[(int)order[nearest] * ldp] = 1;
            }
        }
    }
}
