using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>A 4 by 16 int8 tile for AVX2. Its byte product VPMADDUBSW saturates at 16 bits, so bytes are widened first, those at
/// even and at odd places apart, and multiplied by VPMADDWD, which is exact.</summary>
internal sealed unsafe class Int8TileAvx2() : DotTile("avx2", 4, 16)
{
    public static bool IsSupported => Avx2.IsSupported;

    public override int Height(int rows) => MaxRows;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(int height, nint groups, byte* a, byte* b, void* start, void* sums)
    {
        Vector256<int> sx = Vector256.Load((int*)start), sy = Vector256.Load((int*)start + 8);
        Vector256<int> c0x = sx, c0y = sy;
        Vector256<int> c1x = sx, c1y = sy;
        Vector256<int> c2x = sx, c2y = sy;
        Vector256<int> c3x = sx, c3y = sy;
        int* rows = (int*)a;
        for (; groups > 0; groups--)
        {
            Vector256<short> bx = Vector256.Load((short*)b), by = Vector256.Load((short*)b + 16);
            Vector256<short> evenX = (bx << 8) >> 8, oddX = bx >> 8, evenY = (by << 8) >> 8, oddY = by >> 8;
            c0x = Add(*rows, evenX, oddX, c0x);
            c0y = Add(*rows, evenY, oddY, c0y);
            c1x = Add(rows[1], evenX, oddX, c1x);
            c1y = Add(rows[1], evenY, oddY, c1y);
            c2x = Add(rows[2], evenX, oddX, c2x);
            c2y = Add(rows[2], evenY, oddY, c2y);
            c3x = Add(rows[3], evenX, oddX, c3x);
            c3y = Add(rows[3], evenY, oddY, c3y);
            rows += 4;
            b += 64;
        }

        int* target = (int*)sums;
        c0x.Store(target);
        c0y.Store(target + 8);
        c1x.Store(target + 16);
        c1y.Store(target + 24);
        c2x.Store(target + 32);
        c2y.Store(target + 40);
        c3x.Store(target + 48);
        c3y.Store(target + 56);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Add(int group, Vector256<short> even, Vector256<short> odd, Vector256<int> sum)
    {
        Vector256<short> evenA = Vector256.Create(group & 0x00FF00FF).AsInt16();
        Vector256<short> oddA = Vector256.Create((group >>> 8) & 0x00FF00FF).AsInt16();
        return sum + Avx2.MultiplyAddAdjacent(evenA, even) + Avx2.MultiplyAddAdjacent(oddA, odd);
    }
}
