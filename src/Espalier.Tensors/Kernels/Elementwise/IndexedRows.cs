using System.Numerics.Tensors;

namespace Espalier.Tensors.Kernels;

/// <summary>Picks rows of a matrix by index, and the reverse: adds rows to the places that an index names.</summary>
internal static unsafe class IndexedRows
{
    /// <summary>y[i] = x[index[i]], or += where <paramref name="accumulate"/>. Rows of <paramref name="width"/>.</summary>
    public static void Gather(float* x, int[] index, float* y, int width, bool accumulate) =>
        Rows.For(index.Length, width, new GatherJob(x, index, y, width, accumulate));

    /// <summary>
    /// y[r] = Σ x[i] over all i with index[i] = r, in the order of i whatever the number of threads; or += where
    /// <paramref name="accumulate"/>. y has <paramref name="rows"/> rows, each belonging to one thread, so repeats are safe.
    /// </summary>
    public static void Scatter(float* x, int[] index, float* y, int rows, int width, bool accumulate)
    {
        // A counting sort: row r gets x[order[starts[r]]] to x[order[starts[r + 1] - 1]].
        var starts = new int[rows + 1];
        foreach (int row in index) starts[row + 1]++;
        for (int r = 0; r < rows; r++) starts[r + 1] += starts[r];
        var order = new int[index.Length];
        for (int i = index.Length - 1, r; i >= 0; i--)
        {
            r = index[i];
            order[--starts[r + 1]] = i;
        }
        Rows.For(rows, width, new ScatterJob(x, starts, order, y, width, accumulate));
    }

    private readonly struct GatherJob(float* x, int[] index, float* y, int width, bool accumulate) : IRowJob
    {
        public void Run(long row)
        {
            ReadOnlySpan<float> from = new(x + (long)index[row] * width, width);
            Span<float> to = new(y + row * width, width);
            if (accumulate) TensorPrimitives.Add(to, from, to);
            else from.CopyTo(to);
        }
    }

    private readonly struct ScatterJob(float* x, int[] starts, int[] order, float* y, int width, bool accumulate) : IRowJob
    {
        public void Run(long row)
        {
            Span<float> to = new(y + row * width, width);
            // Filling the order from its end has moved every start one entry to the right.
            int first = starts[row + 1], end = row + 2 < starts.Length ? starts[row + 2] : order.Length;
            if (!accumulate && first == end) to.Clear();
            for (int i = first; i < end; i++)
            {
                ReadOnlySpan<float> from = new(x + (long)order[i] * width, width);
                if (!accumulate && i == first) from.CopyTo(to);
                else TensorPrimitives.Add(to, from, to);
            }
        }
    }
}
