namespace Espalier.Tensors.Kernels;

/// <summary>
/// Small matrix products on one thread's scratch, cut into tiles. All operands are padded: a tile may read and write up to
/// the next multiple of <see cref="RowPad"/> rows.
/// </summary>
internal static unsafe class AttentionProduct<S, V> where S : ISimd<V> where V : struct
{
    /// <summary>Rows of every operand and result are allocated to a multiple of this.</summary>
    public const int RowPad = 8;

    /// <summary>c [rows, vectors] (+)= a [rows, k] b [k, vectors]; a by rows. Step p of b stands at b + p * bStep, its vectors
    /// bVector floats apart.</summary>
    public static void Rows(
        float* a, nint aStride, float* b, nint bStep, nint bVector, int k,
        float* c, nint cStride, int rows, int vectors, bool accumulate = false)
    {
        while (vectors > 0)
        {
            int width = StripWidth(vectors);
            if (width == 3) Rows<Strip3<S, V>>(a, aStride, b, bStep, bVector, k, c, cStride, rows, accumulate);
            else if (width == 2) Rows<Strip2<S, V>>(a, aStride, b, bStep, bVector, k, c, cStride, rows, accumulate);
            else Rows<Strip1<S, V>>(a, aStride, b, bStep, bVector, k, c, cStride, rows, accumulate);
            vectors -= width;
            b += width * bVector;
            c += width * S.Width;
        }
    }

    /// <summary>c [rows, vectors] (+)= transposed(a [k, rows]) b [k, vectors]; both by rows.</summary>
    public static void Columns(
        float* a, nint aStride, float* b, nint bStride, int k,
        float* c, nint cStride, int rows, int vectors, bool accumulate)
    {
        while (vectors > 0)
        {
            int width = StripWidth(vectors);
            if (width == 3) Columns<Strip3<S, V>>(a, aStride, b, bStride, k, c, cStride, rows, accumulate);
            else if (width == 2) Columns<Strip2<S, V>>(a, aStride, b, bStride, k, c, cStride, rows, accumulate);
            else Columns<Strip1<S, V>>(a, aStride, b, bStride, k, c, cStride, rows, accumulate);
            vectors -= width;
            b += width * S.Width;
            c += width * S.Width;
        }
    }

    // 4 as 2 + 2: a strip of one vector has too few accumulators to hide the latency of an FMA.
    private static int StripWidth(int left) => left == 4 ? 2 : Math.Min(left, 3);

    // AVX2 and SSE have 16 registers, which 4 rows of 3 vectors fill; AVX-512 and Arm have 32.
    private static bool Eight(int rows) => (S.Width == 16 || Hardware.HasArm64) && rows > 4;

    private static void Rows<T>(
        float* a, nint aStride, float* b, nint bStep, nint bVector, int k, float* c, nint cStride, int rows, bool accumulate)
        where T : struct, IStrip<T>
    {
        for (; Eight(rows); rows -= 8, a += 8 * aStride, c += 8 * cStride)
        {
            AttentionTile.Rows8<T>(a, aStride, b, bStep, bVector, k, c, cStride, accumulate);
        }

        for (; rows > 0; rows -= 4, a += 4 * aStride, c += 4 * cStride)
        {
            AttentionTile.Rows4<T>(a, aStride, b, bStep, bVector, k, c, cStride, accumulate);
        }
    }

    private static void Columns<T>(
        float* a, nint aStride, float* b, nint bStride, int k, float* c, nint cStride, int rows, bool accumulate)
        where T : struct, IStrip<T>
    {
        for (; Eight(rows); rows -= 8, a += 8, c += 8 * cStride)
        {
            AttentionTile.Columns8<T>(a, aStride, b, bStride, S.Width, k, c, cStride, accumulate);
        }

        for (; rows > 0; rows -= 4, a += 4, c += 4 * cStride)
        {
            AttentionTile.Columns4<T>(a, aStride, b, bStride, S.Width, k, c, cStride, accumulate);
        }
    }
}
