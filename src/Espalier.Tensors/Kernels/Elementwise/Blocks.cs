using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Work on a stretch of elements; a struct, so that a call allocates nothing.</summary>
internal interface IBlockJob
{
    /// <summary>Does elements <paramref name="start"/> to <paramref name="start"/> + <paramref name="count"/> - 1.</summary>
    void Run(long start, int count);
}

/// <summary>
/// Cuts a long row of elements into blocks that stay in the first-level cache, so that an op may go over its block several
/// times with simple vector routines at no cost in memory traffic.
/// </summary>
internal static class Blocks
{
    /// <summary>Elements of a block: three operands of 16 kB fit the first-level cache.</summary>
    public const int Size = 4096;

    /// <summary>Elements worth a thread.</summary>
    public const int Grain = 16 * Size;

    /// <summary>Runs <paramref name="job"/> over all blocks of <paramref name="length"/> elements.</summary>
    public static void For<TJob>(long length, in TJob job)
        where TJob : struct, IBlockJob
    {
        if (length <= Grain) Run(0, length, job);
        else Workers.For(checked((int)((length + Size - 1) / Size)), Grain / Size, new Range<TJob>(length, job));
    }

    private static void Run<TJob>(long start, long end, in TJob job)
        where TJob : struct, IBlockJob
    {
        for (; start < end; start += Size) job.Run(start, (int)Math.Min(Size, end - start));
    }

    private readonly struct Range<TJob>(long length, TJob job) : IRangeJob
        where TJob : struct, IBlockJob
    {
        public void Run(int start, int end, int worker) =>
            Blocks.Run((long)start * Size, Math.Min(length, (long)end * Size), job);
    }
}
