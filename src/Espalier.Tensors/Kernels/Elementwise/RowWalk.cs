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

    /// <summary>All stretches, in any order and on any thread.</summary>
    public void For<TJob>(in TJob job)
        where TJob : struct, IStretchJob
    {
        for (long row = 0; row < RowCount; row++)
            for (long start = 0; start < Inner; start += Blocks.Size)
                job.Run(row, start, (int)Math.Min(Blocks.Size, Inner - start));
    }

    /// <summary>All stretches, so that no two threads come to the same element of <paramref name="operand"/>.</summary>
    public void ForReduced<TJob>(int operand, in TJob job)
        where TJob : struct, IStretchJob => For(job);

    private static long StrideFrom(Shape shape, int fromEnd)
    {
        long stride = 1;
        for (int i = 1; i < fromEnd; i++) stride *= shape[-i];
        return stride;
    }
}
