using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>y[c, r] = x[r, c] (or += x[r, c]) for matrices with any row distance.</summary>
internal static unsafe class Transposition
{
    // A tile's rows in x and in y stay in the first-level cache while it is turned.
    private const int Tile = 32;

    /// <param name="x">[rows, columns] with row distance <paramref name="ldx"/>.</param>
    /// <param name="y">[columns, rows] with row distance <paramref name="ldy"/>.</param>
    public static void Run(float* x, long ldx, float* y, long ldy, long rows, long columns, bool accumulate)
    {
        for (long r = 0; r < rows; r += Tile)
        {
            for (long c = 0; c < columns; c += Tile)
            {
                RunTile(x + r * ldx + c, ldx, y + c * ldy + r, ldy,
                    (int)Math.Min(Tile, rows - r), (int)Math.Min(Tile, columns - c), accumulate);
            }
        }
    }

    // Files are turned by it once, before anything would be compiled better.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void RunTile(float* x, long ldx, float* y, long ldy, int rows, int columns, bool accumulate)
    {
        int wholeRows = Hardware.Has512 ? rows & -16 : 0, wholeColumns = columns & -16;
        for (int r = 0; r < wholeRows; r += 16)
            for (int c = 0; c < wholeColumns; c += 16) Turn16(x + r * ldx + c, ldx, y + c * ldy + r, ldy, accumulate);
        float* right = x + wholeColumns, below = y + wholeColumns * ldy;
        if (wholeRows > 0) RunRest(right, ldx, below, ldy, wholeRows, columns - wholeColumns, accumulate);
        RunRest(x + wholeRows * ldx, ldx, y + wholeRows, ldy, rows - wholeRows, columns, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void RunRest(float* x, long ldx, float* y, long ldy, int rows, int columns, bool accumulate)
    {
        int r = 0;
        for (; r <= rows - 4; r += 4)
        {
            int c = 0;
            if (Hardware.Has512)
                for (; c <= columns - 16; c += 16) Turn4By16(x + r * ldx + c, ldx, y + c * ldy + r, ldy, accumulate);
            for (; c <= columns - 4; c += 4) Turn4(x + r * ldx + c, ldx, y + c * ldy + r, ldy, accumulate);
            for (; c < columns; c++)
                for (int i = r; i < r + 4; i++) Set(y + c * ldy + i, x[i * ldx + c], accumulate);
        }
        for (; r < rows; r++)
            for (int c = 0; c < columns; c++) Set(y + c * ldy + r, x[r * ldx + c], accumulate);
    }

    // Four times four rows, each turned within its quarters; then the quarters change places.
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Turn16(float* x, long ldx, float* y, long ldy, bool accumulate)
    {
        Quarters(x, ldx, out var a0, out var a1, out var a2, out var a3);
        Quarters(x + 4 * ldx, ldx, out var b0, out var b1, out var b2, out var b3);
        Quarters(x + 8 * ldx, ldx, out var c0, out var c1, out var c2, out var c3);
        Quarters(x + 12 * ldx, ldx, out var d0, out var d1, out var d2, out var d3);
        Columns(a0, b0, c0, d0, y, 4 * ldy, accumulate);
        Columns(a1, b1, c1, d1, y + ldy, 4 * ldy, accumulate);
        Columns(a2, b2, c2, d2, y + 2 * ldy, 4 * ldy, accumulate);
        Columns(a3, b3, c3, d3, y + 3 * ldy, 4 * ldy, accumulate);
    }

    // Where fewer than 16 rows are left: the quarters of four, each written on its own.
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Turn4By16(float* x, long ldx, float* y, long ldy, bool accumulate)
    {
        Quarters(x, ldx, out var a, out var b, out var c, out var d);
        Rows(a, y, 4 * ldy, accumulate);
        Rows(b, y + ldy, 4 * ldy, accumulate);
        Rows(c, y + 2 * ldy, 4 * ldy, accumulate);
        Rows(d, y + 3 * ldy, 4 * ldy, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Rows(Vector512<float> quarters, float* y, long step, bool accumulate)
    {
        Set(y, Avx512F.ExtractVector128(quarters, 0), accumulate);
        Set(y + step, Avx512F.ExtractVector128(quarters, 1), accumulate);
        Set(y + 2 * step, Avx512F.ExtractVector128(quarters, 2), accumulate);
        Set(y + 3 * step, Avx512F.ExtractVector128(quarters, 3), accumulate);
    }

    // Quarter k of the j-th result has column 4k + j of four rows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Quarters(float* x, long ldx,
        out Vector512<float> r0, out Vector512<float> r1, out Vector512<float> r2, out Vector512<float> r3)
    {
        Vector512<float> a = Vector512.Load(x), b = Vector512.Load(x + ldx);
        Vector512<float> c = Vector512.Load(x + 2 * ldx), d = Vector512.Load(x + 3 * ldx);
        Vector512<double> ab0 = Avx512F.UnpackLow(a, b).AsDouble(), ab1 = Avx512F.UnpackHigh(a, b).AsDouble();
        Vector512<double> cd0 = Avx512F.UnpackLow(c, d).AsDouble(), cd1 = Avx512F.UnpackHigh(c, d).AsDouble();
        r0 = Avx512F.UnpackLow(ab0, cd0).AsSingle();
        r1 = Avx512F.UnpackHigh(ab0, cd0).AsSingle();
        r2 = Avx512F.UnpackLow(ab1, cd1).AsSingle();
        r3 = Avx512F.UnpackHigh(ab1, cd1).AsSingle();
    }

    // Writes the same quarter of all four, one after the other: quarter 0, then a step on quarter 1, and so on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Columns(
        Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d, float* y, long step, bool accumulate)
    {
        const byte Even = 0x88, Odd = 0xDD;
        Vector512<float> ab = Avx512F.Shuffle4x128(a, b, Even), cd = Avx512F.Shuffle4x128(c, d, Even);
        Set(y, Avx512F.Shuffle4x128(ab, cd, Even), accumulate);
        Set(y + 2 * step, Avx512F.Shuffle4x128(ab, cd, Odd), accumulate);
        ab = Avx512F.Shuffle4x128(a, b, Odd);
        cd = Avx512F.Shuffle4x128(c, d, Odd);
        Set(y + step, Avx512F.Shuffle4x128(ab, cd, Even), accumulate);
        Set(y + 3 * step, Avx512F.Shuffle4x128(ab, cd, Odd), accumulate);
    }

    // Four rows of x become four rows of y: pairs are interleaved, then pairs of pairs.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Turn4(float* x, long ldx, float* y, long ldy, bool accumulate)
    {
        Vector128<float> a = Vector128.Load(x), b = Vector128.Load(x + ldx);
        Vector128<float> c = Vector128.Load(x + 2 * ldx), d = Vector128.Load(x + 3 * ldx);
        Vector128<float> ac0 = Low(a, c), ac1 = High(a, c), bd0 = Low(b, d), bd1 = High(b, d);
        Set(y, Low(ac0, bd0), accumulate);
        Set(y + ldy, High(ac0, bd0), accumulate);
        Set(y + 2 * ldy, Low(ac1, bd1), accumulate);
        Set(y + 3 * ldy, High(ac1, bd1), accumulate);
    }

    // a0 b0 a1 b1
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Low(Vector128<float> a, Vector128<float> b) =>
        Vector128.Shuffle(Vector128.Create(a.GetLower(), b.GetLower()), Vector128.Create(0, 2, 1, 3));

    // a2 b2 a3 b3
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> High(Vector128<float> a, Vector128<float> b) =>
        Vector128.Shuffle(Vector128.Create(a.GetUpper(), b.GetUpper()), Vector128.Create(0, 2, 1, 3));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Set(float* y, Vector512<float> x, bool accumulate) => (accumulate ? Vector512.Load(y) + x : x).Store(y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Set(float* y, Vector128<float> x, bool accumulate) => (accumulate ? Vector128.Load(y) + x : x).Store(y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Set(float* y, float x, bool accumulate) => *y = accumulate ? *y + x : x;
}
