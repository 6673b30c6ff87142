using System.Numerics.Tensors;

namespace Espalier.Tensors.Kernels;

/// <summary>Copies or adds rows between matrices whose rows are apart.</summary>
internal static unsafe class StridedRows
{
    // Wide rows are cut, so that a single one is shared by threads too.
    private const long Piece = 4 * Blocks.Size;

    /// <summary>to[r] = from[r], or += where <paramref name="accumulate"/>, for <paramref name="rows"/> rows of
    /// <paramref name="width"/>, each <paramref name="fromStride"/> and <paramref name="toStride"/> after the one before.</summary>
    public static void Move(float* from, long fromStride, float* to, long toStride, long rows, long width, bool accumulate)
    {
        if (rows == 0 || width == 0) return;
        long pieces = (width + Piece - 1) / Piece;
        Rows.For(rows * pieces, Math.Min(width, Piece), new Job(from, fromStride, to, toStride, width, pieces, accumulate));
    }

    private readonly struct Job(
        float* from, long fromStride, float* to, long toStride, long width, long pieces, bool accumulate) : IRowJob
    {
        public void Run(long item)
        {
            (long row, long piece) = Math.DivRem(item, pieces);
            long start = piece * Piece;
            int count = (int)Math.Min(Piece, width - start);
            ReadOnlySpan<float> source = new(from + row * fromStride + start, count);
            Span<float> target = new(to + row * toStride + start, count);
            if (accumulate) TensorPrimitives.Add(target, source, target);
            else source.CopyTo(target);
        }
    }
}
