using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>Rows of floats to bfloat16, the upper half of a float: rounded to nearest, ties to even; NaN stays NaN, what is
/// beyond the largest bfloat16 becomes infinite.</summary>
internal static unsafe class Bf16Rows
{
    /// <summary>Values of a group.</summary>
    public const int GroupSize = 2;

    /// <summary>The bits of <paramref name="x"/> rounded to bfloat16.</summary>
    public static ushort Round(float x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x);
        return (ushort)(float.IsNaN(x) ? (bits >> 16) | 0x40 : (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    /// <summary>Up to <paramref name="height"/> rows as a panel of groups.</summary>
    /// <param name="x">[lines, count]</param>
    /// <param name="ldx">Distance between the rows of x.</param>
    /// <param name="lines">Rows there are, at least 1; the rest of the panel repeats the last.</param>
    /// <param name="count">Values of a row. Those up to the next multiple of 16 are zero in the panel.</param>
    /// <param name="panel">[groups, height, 2]; up to 12 bytes behind it are overwritten.</param>
    public static void Pack(float* x, nint ldx, int lines, int height, nint count, byte* panel)
    {
        // From the last four rows to the first, for the reason that Int8Rows.Pack gives.
        nint stride = height * GroupSize * sizeof(ushort);
        for (int i = (height - 1) / 4 * 4; i >= 0; i -= 4)
        {
            float* x0 = x + (Math.Min(i, lines - 1) * ldx), x1 = x + (Math.Min(i + 1, lines - 1) * ldx);
            float* x2 = x + (Math.Min(i + 2, lines - 1) * ldx), x3 = x + (Math.Min(i + 3, lines - 1) * ldx);
            byte* target = panel + (i * GroupSize * sizeof(ushort));
            nint whole = Avx512BW.IsSupported ? FourRows(x0, x1, x2, x3, count, target, stride) : 0;
            for (nint k = whole; k < ((count + 15) & ~15); k += GroupSize)
            {
                ushort* group = (ushort*)(target + (k / GroupSize * stride));
                Pair(x0, k, count, group);
                Pair(x1, k, count, group + 2);
                Pair(x2, k, count, group + 4);
                Pair(x3, k, count, group + 6);
            }
        }
    }

    /// <summary>The same of lines that lie side by side: the columns of a matrix that has a row for each step.</summary>
    /// <param name="x">[count, lines]</param>
    /// <param name="ldx">Distance between the rows of x, at least 15.</param>
    /// <param name="lines">Lines there are; the rest of the panel holds anything.</param>
    /// <param name="count">Steps. Those up to the next multiple of 16 are zero in the panel.</param>
    /// <param name="panel">[groups, height, 2]; up to 60 bytes behind it are overwritten.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void PackColumns(float* x, nint ldx, int lines, int height, nint count, byte* panel)
    {
        uint* target = (uint*)panel;
        for (nint k = 0; k < ((count + 15) & ~15); k += GroupSize, x += GroupSize * ldx, target += height)
        {
            // Whole vectors may reach past the lines, which is still inside of x where a row follows.
            int i = 0, whole = k + GroupSize < count ? lines : lines / 16 * 16;
            if (Avx512BW.IsSupported && k + 1 < count)
            {
                for (; i < whole; i += 16)
                    ((Round(Vector512.Load(x + ldx + i)) << 16) | Round(Vector512.Load(x + i))).Store(target + i);
            }
            for (; i < lines; i++)
            {
                uint low = k < count ? Round(x[i]) : 0u, high = k + 1 < count ? Round(x[ldx + i]) : 0u;
                target[i] = low | (high << 16);
            }
        }
    }

    private static void Pair(float* x, nint k, nint count, ushort* group)
    {
        group[0] = k < count ? Round(x[k]) : (ushort)0;
        group[1] = k + 1 < count ? Round(x[k + 1]) : (ushort)0;
    }

    // As many whole sixteens as there are.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static nint FourRows(float* x0, float* x1, float* x2, float* x3, nint count, byte* target, nint stride)
    {
        nint i = 0;
        for (; i <= count - 16; i += 16)
        {
            Vector512<uint> h01 = Two(x0 + i, x1 + i), h23 = Two(x2 + i, x3 + i);
            Vector512<float> even = Avx512F.Shuffle(h01.AsSingle(), h23.AsSingle(), 0x88);
            Vector512<float> odd = Avx512F.Shuffle(h01.AsSingle(), h23.AsSingle(), 0xDD);
            even.GetLower().GetLower().Store((float*)target);
            odd.GetLower().GetLower().Store((float*)(target + stride));
            even.GetLower().GetUpper().Store((float*)(target + (2 * stride)));
            odd.GetLower().GetUpper().Store((float*)(target + (3 * stride)));
            byte* upper = target + (4 * stride);
            even.GetUpper().GetLower().Store((float*)upper);
            odd.GetUpper().GetLower().Store((float*)(upper + stride));
            even.GetUpper().GetUpper().Store((float*)(upper + (2 * stride)));
            odd.GetUpper().GetUpper().Store((float*)(upper + (3 * stride)));
            target += 8 * stride;
        }

        return i;
    }

    // In each lane two groups of the first row, then two of the second.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Two(float* x, float* y) =>
        Avx512BW.PackUnsignedSaturate(Round(Vector512.Load(x)).AsInt32(), Round(Vector512.Load(y)).AsInt32()).AsUInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Round(Vector512<float> x)
    {
        Vector512<uint> bits = x.AsUInt32();
        Vector512<uint> upper = bits >>> 16;
        Vector512<uint> rounded = (bits + (upper & Vector512<uint>.One) + Vector512.Create(0x7FFFu)) >>> 16;
        return Vector512.ConditionalSelect(Vector512.Equals(x, x).AsUInt32(), rounded, upper | Vector512.Create(0x40u));
    }
}
