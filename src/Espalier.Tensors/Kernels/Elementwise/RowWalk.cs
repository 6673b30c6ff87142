using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Work on a stretch of one row; a struct, so that a call allocates nothing.</summary>
internal interface IStretchJob
{
    /// <summary>Does elements <paramref name="start"/> .. + <paramref name="count"/> - 1 of row <paramref name="row"/>.</summary>
    void Run(long row, long start, int count);
}

/// <summary>
/// Walks over the elements of a shape together with operands that are repeated along some of its axes. Neighbouring axes
/// along which every operand does the same are merged, so that rows (the last merged axis) are as long as can be.
/// </summary>
internal sealed class RowWalk
{
    private readonly long[] extents = new long[Espalier.Tensors.Shape.MaxRank];
    private readonly long[][] strides;
    private readonly int rank;

    /// <param name="operands">Shapes aligned with the last axis of <paramref name="shape"/>; an extent of 1 is repeated.</param>
    public RowWalk(Shape shape, params ReadOnlySpan<Shape> operands)
    {
        Shape = shape;
        strides = new long[operands.Length][];
        for (int o = 0; o < strides.Length; o++) strides[o] = new long[Espalier.Tensors.Shape.MaxRank];
        Span<bool> repeats = stackalloc bool[operands.Length], before = stackalloc bool[operands.Length];
        // Merged axes are collected from the last to the first; entry 0 is the row.
        for (int i = 1; i <= shape.Rank; i++)
        {
            if (shape[-i] == 1) continue;
            for (int o = 0; o < operands.Length; o++) repeats[o] = i > operands[o].Rank || operands[o][-i] == 1;
            if (rank > 0 && repeats.SequenceEqual(before))
            {
                extents[rank - 1] *= shape[-i];
                continue;
            }
            for (int o = 0; o < operands.Length; o++) strides[o][rank] = repeats[o] ? 0 : StrideFrom(operands[o], i);
            extents[rank++] = shape[-i];
            repeats.CopyTo(before);
        }
        Inner = rank == 0 ? 1 : extents[0];
        RowCount = Inner == 0 ? 0 : shape.Length / Inner;
    }

    /// <summary>The joint shape under NumPy's broadcasting rules.</summary>
    /// <param name="op">For the message.</param>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static Shape Joint(string op, params ReadOnlySpan<Shape> operands)
    {
        int rank = 0;
        foreach (Shape operand in operands) rank = Math.Max(rank, operand.Rank);
        var dims = new int[rank];
        Array.Fill(dims, 1);
        foreach (Shape operand in operands)
        {
            for (int i = 1; i <= operand.Rank; i++)
            {
                if (operand[-i] == 1) continue;
                if (dims[^i] != 1 && dims[^i] != operand[-i])
                    throw new ArgumentException(
                        $"{op}: {string.Join(", ", operands[..^1].ToArray())} and {operands[^1]} do not broadcast together");
                dims[^i] = operand[-i];
            }
        }
        return new Shape(dims);
    }

    public Shape Shape { get; }

    /// <summary>Elements of a row.</summary>
    public long Inner { get; }

    public long RowCount { get; }

    /// <summary>Whether the operand moves along the row; if not, it is one value for all of the row.</summary>
    public bool Advances(int operand) => rank == 0 || strides[operand][0] != 0;

    /// <summary>Where a row starts in an operand.</summary>
    public long Offset(int operand, long row)
    {
        long offset = 0;
        for (int i = 1; i < rank; i++)
        {
            (row, long at) = Math.DivRem(row, extents[i]);
            offset += at * strides[operand][i];
        }
        return offset;
    }

    /// <summary>All stretches, on any thread.</summary>
    public void For<TJob>(in TJob job)
        where TJob : struct, IStretchJob
    {
        if (Shape.Length == 0) return;
        long stretches = (Inner + Blocks.Size - 1) / Blocks.Size;
        int grain = (int)Math.Max(1, Blocks.Grain / Math.Min(Inner, Blocks.Size));
        Workers.For(checked((int)(RowCount * stretches)), grain, new AllJob<TJob>(this, job, stretches));
    }

    /// <summary>
    /// All stretches, for a job that adds to <paramref name="operand"/>: no two threads come to the same element of it, and
    /// each element gets its summands in the order of the rows.
    /// </summary>
    public void ForReduced<TJob>(int operand, in TJob job)
        where TJob : struct, IStretchJob
    {
        if (Shape.Length == 0) return;
        int outer = (int)extents[Math.Max(0, rank - 1)];
        if (Advances(operand))
        {
            // Columns apart: a thread has a range of columns of every row.
            int grain = (int)Math.Max(16, Blocks.Grain / RowCount);
            Workers.For(checked((int)Inner), grain, new ColumnsJob<TJob>(this, job));
        }
        else if (rank > 1 && strides[operand][rank - 1] != 0)
        {
            long rows = RowCount / outer;
            int grain = (int)Math.Max(1, Blocks.Grain / (rows * Inner));
            Workers.For(outer, grain, new RowsJob<TJob>(this, job, rows));
        }
        else new RowsJob<TJob>(this, job, RowCount).Run(0, 1, 0);
    }

    private void Row<TJob>(long row, long start, long end, in TJob job)
        where TJob : struct, IStretchJob
    {
        for (; start < end; start += Blocks.Size) job.Run(row, start, (int)Math.Min(Blocks.Size, end - start));
    }

    private readonly struct AllJob<TJob>(RowWalk walk, TJob job, long stretches) : IRangeJob
        where TJob : struct, IStretchJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                (long row, long stretch) = Math.DivRem(i, stretches);
                long at = stretch * Blocks.Size;
                walk.Row(row, at, Math.Min(walk.Inner, at + Blocks.Size), job);
            }
        }
    }

    private readonly struct ColumnsJob<TJob>(RowWalk walk, TJob job) : IRangeJob
        where TJob : struct, IStretchJob
    {
        public void Run(int start, int end, int worker)
        {
            for (long row = 0; row < walk.RowCount; row++) walk.Row(row, start, end, job);
        }
    }

    private readonly struct RowsJob<TJob>(RowWalk walk, TJob job, long rows) : IRangeJob
        where TJob : struct, IStretchJob
    {
        public void Run(int start, int end, int worker)
        {
            for (long row = start * rows; row < end * rows; row++) walk.Row(row, 0, walk.Inner, job);
        }
    }

    private static long StrideFrom(Shape shape, int fromEnd)
    {
        long stride = 1;
        for (int i = 1; i < fromEnd; i++) stride *= shape[-i];
        return stride;
    }
}
