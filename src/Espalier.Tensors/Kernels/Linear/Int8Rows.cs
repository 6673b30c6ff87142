using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>Rows of floats to 8 bits with one scale a row, symmetric about zero: q = round(x / scale), ties to even, with
/// scale = max |x| / 127. A row that holds NaN or an infinity gets the scale NaN, so that all that is computed from it is NaN.
/// </summary>
internal static unsafe class Int8Rows
{
    /// <summary>Values of a group.</summary>
    public const int GroupSize = 4;

    /// <summary>Added to q where it is stored as a byte without sign.</summary>
    public const int Shift = 128;

    // Rows smaller than this all over, zero rows among them, are measured as if this was their largest value: 1 / scale stays
    // finite, and what is lost is below 1e-32.
    private const float Smallest = 1e-30f;

    // Larger numbers of steps are cut to this before they become integers, which they would not fit into.
    private const float Most = 1e6f;

    private const int Infinity = 0x7F800000;

    /// <summary>The scale of one row; NaN where it holds NaN or an infinity.</summary>
    public static float Scale(float* x, nint count)
    {
        // Without the sign, floats order like their bits, NaN above all.
        int largest = LargestBits(x, count);
        return largest >= Infinity ? float.NaN : MathF.Max(BitConverter.Int32BitsToSingle(largest), Smallest) / 127f;
    }

    /// <summary>q + 128 of up to <paramref name="height"/> rows as a panel of groups, and their scales.</summary>
    /// <param name="x">[lines, count]</param>
    /// <param name="ldx">Distance between the rows of x.</param>
    /// <param name="lines">Rows there are, at least 1; the rest of the panel repeats the last.</param>
    /// <param name="count">Values of a row. Those up to the next multiple of 16 are zero in the panel.</param>
    /// <param name="panel">[groups, height, 4]; up to 12 bytes behind it are overwritten.</param>
    /// <param name="scales">[lines]</param>
    public static void Pack(float* x, nint ldx, int lines, int height, nint count, byte* panel, float* scales)
    {
        for (int i = 0; i < lines; i++)
        {
            scales[i] = Scale(x + (i * ldx), count);
        }

        Rows(x, ldx, lines, height, count, panel, scales, 0, 0);
    }

    /// <param name="scales">[lines]; null where <paramref name="inverse"/> is that of all.</param>
    /// <param name="shift">Added to what is rounded.</param>
    private static void Rows(
        float* x, nint ldx, int lines, int height, nint count, byte* panel, float* scales, float inverse, int shift)
    {
        // Rows go by four. Where fewer are left, the stores of the last four reach into the next group's first rows; going
        // from the last rows to the first, those are written afterwards.
        nint stride = height * GroupSize;
        float* rest = stackalloc float[64];
        for (int i = (height - 1) / 4 * 4; i >= 0; i -= 4)
        {
            int r0 = Math.Min(i, lines - 1), r1 = Math.Min(i + 1, lines - 1);
            int r2 = Math.Min(i + 2, lines - 1), r3 = Math.Min(i + 3, lines - 1);
            Vector128<float> inverses = scales == null ? Vector128.Create(inverse)
                : Vector128<float>.One / Vector128.Create(scales[r0], scales[r1], scales[r2], scales[r3]);
            float* x0 = x + (r0 * ldx), x1 = x + (r1 * ldx), x2 = x + (r2 * ldx), x3 = x + (r3 * ldx);
            nint whole = count & ~15;
            byte* target = panel + (i * GroupSize);
            FourRows(x0, x1, x2, x3, whole, inverses, shift, target, stride);
            if (whole < count)
            {
                nint left = count - whole;
                Tail(x0 + whole, left, rest);
                Tail(x1 + whole, left, rest + 16);
                Tail(x2 + whole, left, rest + 32);
                Tail(x3 + whole, left, rest + 48);
                FourRows(
                    rest, rest + 16, rest + 32, rest + 48, 16, inverses, shift, target + (whole / GroupSize * stride), stride);
            }
        }
    }

    /// <summary>Codes of one scale and zero point for all rows, in the form of the other overload.</summary>
    /// <param name="step">Of all codes from 0 to 255.</param>
    public static void Pack(float* x, nint ldx, int lines, int height, nint count, byte* panel, in CodeStep step) =>
        Rows(x, ldx, lines, height, count, panel, null, step.Inverse, step.Zero - Shift);

    private static void Tail(float* x, nint left, float* sixteen)
    {
        for (int i = 0; i < 16; i++)
        {
            sixteen[i] = i < left ? x[i] : 0f;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int LargestBits(float* x, nint count)
    {
        int* bits = (int*)x;
        nint i = 0;
        Vector128<int> largest = Vector128<int>.Zero;
        if (Vector512.IsHardwareAccelerated)
        {
            Vector512<int> mask = Vector512.Create(int.MaxValue);
            Vector512<int> a = Vector512<int>.Zero, b = a, c = a, d = a;
            for (; i <= count - 64; i += 64)
            {
                a = Vector512.Max(a, Vector512.Load(bits + i) & mask);
                b = Vector512.Max(b, Vector512.Load(bits + i + 16) & mask);
                c = Vector512.Max(c, Vector512.Load(bits + i + 32) & mask);
                d = Vector512.Max(d, Vector512.Load(bits + i + 48) & mask);
            }

            a = Vector512.Max(Vector512.Max(a, b), Vector512.Max(c, d));
            Vector256<int> half = Vector256.Max(a.GetLower(), a.GetUpper());
            largest = Vector128.Max(half.GetLower(), half.GetUpper());
        }

        for (; i <= count - 4; i += 4)
        {
            largest = Vector128.Max(largest, Vector128.Load(bits + i) & Vector128.Create(int.MaxValue));
        }

        int last = Math.Max(Math.Max(largest[0], largest[1]), Math.Max(largest[2], largest[3]));
        for (; i < count; i++)
        {
            last = Math.Max(last, bits[i] & int.MaxValue);
        }

        return last;
    }

    // Four rows at once, because packing their integers down to bytes brings the four bytes of each row's group together.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourRows(
        float* x0, float* x1, float* x2, float* x3, nint count, Vector128<float> inverse, int shift,
        byte* target, nint stride)
    {
        nint i = 0;
        if (Avx512BW.IsSupported)
        {
            Vector512<float> s0 = Vector512.Create(inverse[0]), s1 = Vector512.Create(inverse[1]);
            Vector512<float> s2 = Vector512.Create(inverse[2]), s3 = Vector512.Create(inverse[3]);
            Vector512<byte> flip = Vector512.Create((byte)Shift);
            Vector512<float> most = Vector512.Create(Most);
            Vector512<short> add = Vector512.Create((short)shift);
            for (; i < count; i += 16)
            {
                Vector512<int> q0 = Avx512F.ConvertToVector512Int32(Vector512.MinNative(Vector512.Load(x0 + i) * s0, most));
                Vector512<int> q1 = Avx512F.ConvertToVector512Int32(Vector512.MinNative(Vector512.Load(x1 + i) * s1, most));
                Vector512<int> q2 = Avx512F.ConvertToVector512Int32(Vector512.MinNative(Vector512.Load(x2 + i) * s2, most));
                Vector512<int> q3 = Avx512F.ConvertToVector512Int32(Vector512.MinNative(Vector512.Load(x3 + i) * s3, most));
                Vector512<short> q01 = Avx512BW.AddSaturate(Avx512BW.PackSignedSaturate(q0, q1), add);
                Vector512<short> q23 = Avx512BW.AddSaturate(Avx512BW.PackSignedSaturate(q2, q3), add);
                Vector512<byte> q = Avx512BW.PackSignedSaturate(q01, q23).AsByte() ^ flip;
                q.GetLower().GetLower().Store(target);
                q.GetLower().GetUpper().Store(target + stride);
                q.GetUpper().GetLower().Store(target + (2 * stride));
                q.GetUpper().GetUpper().Store(target + (3 * stride));
                target += 4 * stride;
            }
        }

        Vector128<short> add128 = Vector128.Create((short)shift);
        for (; i < count; i += 4)
        {
            Vector128<int> q0 = Round(Vector128.Load(x0 + i) * inverse[0]), q1 = Round(Vector128.Load(x1 + i) * inverse[1]);
            Vector128<int> q2 = Round(Vector128.Load(x2 + i) * inverse[2]), q3 = Round(Vector128.Load(x3 + i) * inverse[3]);
            Vector128<short> q01 = Vector128.AddSaturate(Vector128.NarrowWithSaturation(q0, q1), add128);
            Vector128<short> q23 = Vector128.AddSaturate(Vector128.NarrowWithSaturation(q2, q3), add128);
            (Vector128.NarrowWithSaturation(q01, q23).AsByte() ^ Vector128.Create((byte)Shift)).Store(target);
            target += stride;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Round(Vector128<float> x)
    {
        x = Vector128.MinNative(x, Vector128.Create(Most));
        return Sse2.IsSupported ? Sse2.ConvertToVector128Int32(x) : Vector128.ConvertToInt32(Vector128.Round(x));
    }
}
