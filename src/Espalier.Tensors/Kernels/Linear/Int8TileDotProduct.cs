using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;

namespace Espalier.Tensors.Kernels;

/// <summary>A 4 by 16 int8 tile for Arm's dot product (SDOT, Armv8.2). It multiplies bytes with sign by bytes with sign, and A's
/// have none: those are taken less 128, and what that leaves out, 128 times the sum of the weights, is summed beside.</summary>
internal sealed unsafe class Int8TileDotProduct() : DotTile("arm-dot", 4, 16)
{
    public static bool IsSupported => Dp.IsSupported;

    public override int Height(int rows) => MaxRows;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(int height, nint groups, byte* a, byte* b, void* start, void* sums)
    {
        Row c0 = default, c1 = default, c2 = default, c3 = default, left = default;
        Vector128<byte> sign = Vector128.Create((byte)0x80);

        // 128 is no byte with sign: half of it, counted twice.
        Vector128<sbyte> half = Vector128.Create((sbyte)64);
        for (; groups > 0; groups--)
        {
            Vector128<sbyte> rows = (Vector128.Load(a) ^ sign).AsSByte();
            Vector128<sbyte> w = Vector128.Load((sbyte*)b), x = Vector128.Load((sbyte*)b + 16);
            Vector128<sbyte> y = Vector128.Load((sbyte*)b + 32), z = Vector128.Load((sbyte*)b + 48);
            c0 = Dot(c0, w, x, y, z, rows, 0);
            c1 = Dot(c1, w, x, y, z, rows, 1);
            c2 = Dot(c2, w, x, y, z, rows, 2);
            c3 = Dot(c3, w, x, y, z, rows, 3);
            left = Dot(left, w, x, y, z, half, 0);
            a += 16;
            b += 64;
        }

        int* begin = (int*)start, target = (int*)sums;
        left.W = left.W + left.W + Vector128.Load(begin);
        left.X = left.X + left.X + Vector128.Load(begin + 4);
        left.Y = left.Y + left.Y + Vector128.Load(begin + 8);
        left.Z = left.Z + left.Z + Vector128.Load(begin + 12);
        Store(c0, left, target);
        Store(c1, left, target + 16);
        Store(c2, left, target + 32);
        Store(c3, left, target + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Row Dot(
        Row sum, Vector128<sbyte> w, Vector128<sbyte> x, Vector128<sbyte> y, Vector128<sbyte> z, Vector128<sbyte> rows,
        [ConstantExpected(Max = (byte)3)] byte lane)
    {
        sum.W = Dp.DotProductBySelectedQuadruplet(sum.W, w, rows, lane);
        sum.X = Dp.DotProductBySelectedQuadruplet(sum.X, x, rows, lane);
        sum.Y = Dp.DotProductBySelectedQuadruplet(sum.Y, y, rows, lane);
        sum.Z = Dp.DotProductBySelectedQuadruplet(sum.Z, z, rows, lane);
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Row sum, Row left, int* target)
    {
        (sum.W + left.W).Store(target);
        (sum.X + left.X).Store(target + 4);
        (sum.Y + left.Y).Store(target + 8);
        (sum.Z + left.Z).Store(target + 12);
    }

    private struct Row
    {
        public Vector128<int> W, X, Y, Z;
    }
}
