using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;

namespace Espalier.Tensors.Kernels;

/// <summary>Tiles of 8 and 4 by 12 for 64-bit Arm: 24 sums, three vectors of B and two of A fill 29 of the 32 registers. A
/// multiply-add takes its value of A from a lane, so that a step of packed rows is five loads and nothing is broadcast. See
/// <see cref="TileSet"/>.</summary>
internal static unsafe class TileAdvSimd
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Eight(
        nint k, float* a, nint rowA, nint stepA, float* b, nint stepB, float* d, nint rowD, float* c, nint rowC)
    {
        Row c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default, c6 = default, c7 = default;
        for (; k > 0; k--)
        {
            var row = new Row(b);
            Vector128<float> low = Column(a, rowA), high = Column(a + (4 * rowA), rowA);
            c0 = Row.Fma(c0, row, low, 0);
            c1 = Row.Fma(c1, row, low, 1);
            c2 = Row.Fma(c2, row, low, 2);
            c3 = Row.Fma(c3, row, low, 3);
            c4 = Row.Fma(c4, row, high, 0);
            c5 = Row.Fma(c5, row, high, 1);
            c6 = Row.Fma(c6, row, high, 2);
            c7 = Row.Fma(c7, row, high, 3);
            a += stepA;
            b += stepB;
        }

        Row.Store(c0, d, c);
        Row.Store(c1, d + rowD, c + rowC);
        Row.Store(c2, d + (2 * rowD), c + (2 * rowC));
        Row.Store(c3, d + (3 * rowD), c + (3 * rowC));
        Row.Store(c4, d + (4 * rowD), c + (4 * rowC));
        Row.Store(c5, d + (5 * rowD), c + (5 * rowC));
        Row.Store(c6, d + (6 * rowD), c + (6 * rowC));
        Row.Store(c7, d + (7 * rowD), c + (7 * rowC));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Four(
        nint k, float* a, nint rowA, nint stepA, float* b, nint stepB, float* d, nint rowD, float* c, nint rowC)
    {
        Row c0 = default, c1 = default, c2 = default, c3 = default;
        for (; k > 0; k--)
        {
            var row = new Row(b);
            Vector128<float> column = Column(a, rowA);
            c0 = Row.Fma(c0, row, column, 0);
            c1 = Row.Fma(c1, row, column, 1);
            c2 = Row.Fma(c2, row, column, 2);
            c3 = Row.Fma(c3, row, column, 3);
            a += stepA;
            b += stepB;
        }

        Row.Store(c0, d, c);
        Row.Store(c1, d + rowD, c + rowC);
        Row.Store(c2, d + (2 * rowD), c + (2 * rowC));
        Row.Store(c3, d + (3 * rowD), c + (3 * rowC));
    }

    // One step of four rows, which stand side by side where they are packed.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Column(float* a, nint row) =>
        row == 1 ? Vector128.Load(a) : Vector128.Create(*a, a[row], a[2 * row], a[3 * row]);

    private struct Row
    {
        private Vector128<float> x, y, z;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Row(float* p) => (x, y, z) = (Vector128.Load(p), Vector128.Load(p + 4), Vector128.Load(p + 8));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Row Fma(Row sum, Row b, Vector128<float> a, [ConstantExpected(Max = (byte)3)] byte lane)
        {
            sum.x = AdvSimd.Arm64.FusedMultiplyAddBySelectedScalar(sum.x, b.x, a, lane);
            sum.y = AdvSimd.Arm64.FusedMultiplyAddBySelectedScalar(sum.y, b.y, a, lane);
            sum.z = AdvSimd.Arm64.FusedMultiplyAddBySelectedScalar(sum.z, b.z, a, lane);
            return sum;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(Row sum, float* d, float* c)
        {
            (sum.x + Vector128.Load(d)).Store(c);
            (sum.y + Vector128.Load(d + 4)).Store(c + 4);
            (sum.z + Vector128.Load(d + 8)).Store(c + 8);
        }
    }
}
