using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Espalier.Imaging;

/// <summary>Fixed-point sums over whole rows of bytes, eight at a time where the machine can.</summary>
internal static class ByteRows
{
    /// <summary>sum[i] += row[i] * weight.</summary>
    public static void AddScaled(ReadOnlySpan<byte> row, int weight, Span<int> sum)
    {
        int i = 0;
        if (Vector256.IsHardwareAccelerated)
        {
            ref byte from = ref MemoryMarshal.GetReference(row);
            ref int to = ref MemoryMarshal.GetReference(sum[..row.Length]);
            var k = Vector256.Create(weight);
            // 16 bytes are read a turn, all of them inside the row.
            for (; i <= row.Length - 16; i += 16)
            {
                var (low, high) = Vector128.Widen(Vector128.LoadUnsafe(ref from, (nuint)i));
                var a = Vector256.Create(Vector128.WidenLower(low), Vector128.WidenUpper(low)).AsInt32();
                var b = Vector256.Create(Vector128.WidenLower(high), Vector128.WidenUpper(high)).AsInt32();
                (Vector256.LoadUnsafe(ref to, (nuint)i) + a * k).StoreUnsafe(ref to, (nuint)i);
                (Vector256.LoadUnsafe(ref to, (nuint)i + 8) + b * k).StoreUnsafe(ref to, (nuint)i + 8);
            }
        }
        for (; i < row.Length; i++) sum[i] += row[i] * weight;
    }

    /// <summary>target[i] = sum[i] >> bits, clipped to 0 .. 255.</summary>
    public static void ShiftAndClip(ReadOnlySpan<int> sum, int bits, Span<byte> target)
    {
        int i = 0;
        if (Vector256.IsHardwareAccelerated)
        {
            ref int from = ref MemoryMarshal.GetReference(sum);
            ref byte to = ref MemoryMarshal.GetReference(target[..sum.Length]);
            var max = Vector256.Create(255);
            for (; i <= sum.Length - 16; i += 16)
            {
                var a = Vector256.Clamp(Vector256.LoadUnsafe(ref from, (nuint)i) >> bits, Vector256<int>.Zero, max);
                var b = Vector256.Clamp(Vector256.LoadUnsafe(ref from, (nuint)i + 8) >> bits, Vector256<int>.Zero, max);
                var words = Vector256.Narrow(a, b);
                Vector128.Narrow(words.GetLower().AsUInt16(), words.GetUpper().AsUInt16()).StoreUnsafe(ref to, (nuint)i);
            }
        }
        for (; i < sum.Length; i++) target[i] = (byte)Math.Clamp(sum[i] >> bits, 0, 255);
    }
}
