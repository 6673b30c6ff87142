using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>Copies one head's columns into scratch in the order in which the tiles read them, padded with zeros.</summary>
internal static unsafe class AttentionPack
{
    private const MethodImplOptions Leaf = MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining;

    public static int RoundUp(int value, int multiple) => (value + multiple - 1) / multiple * multiple;

    /// <summary>source [rows, d] times <paramref name="factor"/> -> target [paddedRows, stride]: zeros after column d and after
    /// the last row.</summary>
    [MethodImpl(Leaf)]
    public static void Rows<S, V>(
        float* source, nint ld, int rows, int d, float* target, int paddedRows, int stride, float factor = 1f)
        where S : ISimd<V> where V : struct
    {
        V f = S.Set(factor);
        int whole = d - d % S.Width;
        for (int i = 0; i < rows; i++, source += ld, target += stride)
        {
            int c = 0;
            for (; c < whole; c += S.Width) S.Store(S.Mul(S.Load(source + c), f), target + c);
            if (c == stride) continue;
            for (; c < d; c++) target[c] = source[c] * factor;
            for (; c < stride; c++) target[c] = 0f;
        }

        for (float* end = target + (nint)(paddedRows - rows) * stride; target < end; target++) *target = 0f;
    }

    /// <summary>target [rows, d] (leading dimension ld) = source [rows, stride]'s first d columns, times
    /// <paramref name="factor"/>, or row i times factors[i] where they are given.</summary>
    [MethodImpl(Leaf)]
    public static void Unpack<S, V>(
        float* source, int stride, int rows, int d, float* target, nint ld, float factor, float* factors = null)
        where S : ISimd<V> where V : struct
    {
        int whole = d - d % S.Width;
        for (int i = 0; i < rows; i++, source += stride, target += ld)
        {
            float f = factors == null ? factor : factors[i];
            V fv = S.Set(f);
            int c = 0;
            for (; c < whole; c += S.Width) S.Store(S.Mul(S.Load(source + c), fv), target + c);
            for (; c < d; c++) target[c] = source[c] * f;
        }
    }

    /// <summary>
    /// Transposes source [rows, d] into panels of <paramref name="width"/> of its rows: target [panels, d, width], times
    /// <paramref name="factor"/>; the last panel's missing rows are zeros.
    /// </summary>
    [MethodImpl(Leaf)]
    public static void Transposed(float* source, nint ld, int rows, int d, float* target, int width, float factor)
    {
        for (int start = 0; start < rows; start += width, target += (nint)d * width)
        {
            int count = Math.Min(width, rows - start), quads = CanTranspose4 ? count & ~3 : 0;
            if (count < width) new Span<float>(target, d * width).Clear();
            for (int j = 0; j < quads; j += 4)
            {
                float* row = source + (start + j) * ld;
                int p = 0;
                if (Avx.IsSupported)
                {
                    for (; p <= d - 8; p += 8) Transpose8(row + p, ld, target + (nint)p * width + j, width, factor);
                }

                for (; p <= d - 4; p += 4) Transpose4(row + p, ld, target + (nint)p * width + j, width, factor);
                for (; p < d; p++)
                {
                    for (int r = 0; r < 4; r++) target[(nint)p * width + j + r] = row[r * ld + p] * factor;
                }
            }

            for (int j = quads; j < count; j++)
            {
                float* row = source + (start + j) * ld;
                for (int p = 0; p < d; p++) target[(nint)p * width + j] = row[p] * factor;
            }
        }
    }

    private static bool CanTranspose4 => Sse.IsSupported || AdvSimd.Arm64.IsSupported;

    // Four rows, eight columns: two transpositions of 4 by 4 beside each other.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose8(float* source, nint ld, float* target, nint stride, float factor)
    {
        Vector256<float> f = Vector256.Create(factor);
        Vector256<float> r0 = Vector256.Load(source) * f, r1 = Vector256.Load(source + ld) * f;
        Vector256<float> r2 = Vector256.Load(source + 2 * ld) * f, r3 = Vector256.Load(source + 3 * ld) * f;
        Vector256<float> low02 = Avx.UnpackLow(r0, r2), high02 = Avx.UnpackHigh(r0, r2);
        Vector256<float> low13 = Avx.UnpackLow(r1, r3), high13 = Avx.UnpackHigh(r1, r3);
        Vector256<float> c0 = Avx.UnpackLow(low02, low13), c1 = Avx.UnpackHigh(low02, low13);
        Vector256<float> c2 = Avx.UnpackLow(high02, high13), c3 = Avx.UnpackHigh(high02, high13);
        c0.GetLower().Store(target);
        c1.GetLower().Store(target + stride);
        c2.GetLower().Store(target + 2 * stride);
        c3.GetLower().Store(target + 3 * stride);
        target += 4 * stride;
        c0.GetUpper().Store(target);
        c1.GetUpper().Store(target + stride);
        c2.GetUpper().Store(target + 2 * stride);
        c3.GetUpper().Store(target + 3 * stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose4(float* source, nint ld, float* target, nint stride, float factor)
    {
        Vector128<float> f = Vector128.Create(factor);
        Vector128<float> r0 = Vector128.Load(source) * f, r1 = Vector128.Load(source + ld) * f;
        Vector128<float> r2 = Vector128.Load(source + 2 * ld) * f, r3 = Vector128.Load(source + 3 * ld) * f;
        Vector128<float> low02 = InterleaveLow(r0, r2), high02 = InterleaveHigh(r0, r2);
        Vector128<float> low13 = InterleaveLow(r1, r3), high13 = InterleaveHigh(r1, r3);
        InterleaveLow(low02, low13).Store(target);
        InterleaveHigh(low02, low13).Store(target + stride);
        InterleaveLow(high02, high13).Store(target + 2 * stride);
        InterleaveHigh(high02, high13).Store(target + 3 * stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> InterleaveLow(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? Sse.UnpackLow(a, b) : AdvSimd.Arm64.ZipLow(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> InterleaveHigh(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? Sse.UnpackHigh(a, b) : AdvSimd.Arm64.ZipHigh(a, b);
}
