using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>A 6 by 16 int8 tile for processors with AVX-VNNI: 12 sums, two vectors of B and one group of A in 15 of the
/// 16 registers.</summary>
internal sealed unsafe class Int8TileAvxVnni() : DotTile("avx-vnni", 6, 16)
{
    public static bool IsSupported => AvxVnni.IsSupported;

    public override int Height(int rows) => MaxRows;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(int height, nint groups, byte* a, byte* b, void* start, void* sums)
    {
        Vector256<int> sx = Vector256.Load((int*)start), sy = Vector256.Load((int*)start + 8);
        Vector256<int> c0x = sx, c0y = sy;
        Vector256<int> c1x = sx, c1y = sy;
        Vector256<int> c2x = sx, c2y = sy;
        Vector256<int> c3x = sx, c3y = sy;
        Vector256<int> c4x = sx, c4y = sy;
        Vector256<int> c5x = sx, c5y = sy;
        int* rows = (int*)a;
        for (; groups > 0; groups--)
        {
            Vector256<sbyte> bx = Vector256.Load((sbyte*)b), by = Vector256.Load((sbyte*)b + 32);
            Vector256<byte> q = Vector256.Create(*rows).AsByte();
            c0x = AvxVnni.MultiplyWideningAndAdd(c0x, q, bx);
            c0y = AvxVnni.MultiplyWideningAndAdd(c0y, q, by);
            q = Vector256.Create(rows[1]).AsByte();
            c1x = AvxVnni.MultiplyWideningAndAdd(c1x, q, bx);
            c1y = AvxVnni.MultiplyWideningAndAdd(c1y, q, by);
            q = Vector256.Create(rows[2]).AsByte();
            c2x = AvxVnni.MultiplyWideningAndAdd(c2x, q, bx);
            c2y = AvxVnni.MultiplyWideningAndAdd(c2y, q, by);
            q = Vector256.Create(rows[3]).AsByte();
            c3x = AvxVnni.MultiplyWideningAndAdd(c3x, q, bx);
            c3y = AvxVnni.MultiplyWideningAndAdd(c3y, q, by);
            q = Vector256.Create(rows[4]).AsByte();
            c4x = AvxVnni.MultiplyWideningAndAdd(c4x, q, bx);
            c4y = AvxVnni.MultiplyWideningAndAdd(c4y, q, by);
            q = Vector256.Create(rows[5]).AsByte();
            c5x = AvxVnni.MultiplyWideningAndAdd(c5x, q, bx);
            c5y = AvxVnni.MultiplyWideningAndAdd(c5y, q, by);
            rows += 6;
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
        c4x.Store(target + 64);
        c4y.Store(target + 72);
        c5x.Store(target + 80);
        c5y.Store(target + 88);
    }
}
