using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

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
        int r = 0;
        for (; r <= rows - 4; r += 4)
        {
            int c = 0;
            for (; c <= columns - 4; c += 4) Turn4(x + r * ldx + c, ldx, y + c * ldy + r, ldy, accumulate);
            for (; c < columns; c++)
                for (int i = r; i < r + 4; i++) Set(y + c * ldy + i, x[i * ldx + c], accumulate);
        }
        for (; r < rows; r++)
            for (int c = 0; c < columns; c++) Set(y + c * ldy + r, x[r * ldx + c], accumulate);
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
    private static void Set(float* y, Vector128<float> x, bool accumulate) => (accumulate ? Vector128.Load(y) + x : x).Store(y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Set(float* y, float x, bool accumulate) => *y = accumulate ? *y + x : x;
}
