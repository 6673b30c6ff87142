using System.Runtime.InteropServices;

namespace Espalier.Formats;

internal static class FloatBytes
{
    private const int Piece = 1 << 26;    // a span of bytes holds less than 2^31, an array of floats may take four times that

    /// <summary>Writes floats as they lie in memory, little-endian, without a copy.</summary>
    public static void Write(Stream stream, ReadOnlySpan<float> values)
    {
        while (values.Length > 0)
        {
            ReadOnlySpan<float> piece = values[..Math.Min(values.Length, Piece)];
            stream.Write(MemoryMarshal.AsBytes(piece));
            values = values[piece.Length..];
        }
    }
}
