using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Work on one row; a struct, so that a call allocates nothing.</summary>
internal interface IRowJob
{
    void Run(long row);
}

/// <summary>Runs row by row, for ops over the last axis.</summary>
internal static class Rows
{
    /// <summary>Runs <paramref name="job"/> for each of the rows, of <paramref name="width"/> elements each.</summary>
    public static void For<TJob>(long rows, long width, in TJob job)
        where TJob : struct, IRowJob
    {
        Workers.For(checked((int)rows), (int)Math.Max(1, Blocks.Grain / Math.Max(1, width)), new Range<TJob>(job));
    }

    private readonly struct Range<TJob>(TJob job) : IRangeJob
        where TJob : struct, IRowJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int row = start; row < end; row++) job.Run(row);
        }
    }
}
