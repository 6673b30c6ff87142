using System.Buffers.Binary;
using Espalier.Formats;

namespace Espalier.Imaging;

/// <summary>The chunks of a PNG file (PNG specification, 2nd edition, chapters 5 and 11).</summary>
internal static class PngChunks
{
    private const int Signature = 8, Overhead = 12, WidthAt = 16, HeightAt = 20, BitsAt = 24, ColorTypeAt = 25;
    private const int ColorFlag = 2;
    private const ulong MaxInflation = 1032;        // Deflate's limit: 258 bytes from two bits

    /// <summary>True where pixels are grey, with or without alpha; palettes count as colour.</summary>
    public static bool IsGray(ReadOnlySpan<byte> data) => data.Length > ColorTypeAt && (data[ColorTypeAt] & ColorFlag) == 0;

    /// <summary>
    /// The file with only the chunks that say what the pixels are. Without gAMA, cHRM, sRGB and iCCP no
    /// decoder corrects colours (Pillow does not either); without text chunks a small file cannot unfold into much memory.
    /// </summary>
    /// <param name="origin">The EXIF orientation, 1 where the file says none.</param>
    /// <exception cref="EspalierException">The file ends before its end mark, or a chunk's checksum is wrong.</exception>
    public static byte[] Essential(ReadOnlySpan<byte> data, string name, out int origin)
    {
        origin = 1;
        byte[] kept = new byte[data.Length];
        data[..Signature].CopyTo(kept);
        int at = Signature, length = Signature;
        bool ended = false;
        while (!ended)
        {
            if (data.Length - at < Overhead) throw Truncated(name);
            uint size = BinaryPrimitives.ReadUInt32BigEndian(data[at..]);
            if (size > (uint)(data.Length - at - Overhead)) throw Truncated(name);
            int whole = (int)size + Overhead;
            var type = data.Slice(at + 4, 4);
            ended = type.SequenceEqual("IEND"u8);
            bool wanted = ended || type.SequenceEqual("IHDR"u8) || type.SequenceEqual("PLTE"u8) || type.SequenceEqual("tRNS"u8)
                || type.SequenceEqual("IDAT"u8);
            if (type.SequenceEqual("eXIf"u8)) origin = Orientation.Read(data.Slice(at + 8, (int)size));
            if (wanted)
            {
                uint sum = BinaryPrimitives.ReadUInt32BigEndian(data[(at + whole - 4)..]);
                if (sum != Crc32.Append(0, data.Slice(at + 4, whole - 8)))
                    throw new EspalierException($"{name}: damaged PNG file: a checksum is wrong; get a whole copy.");
                data.Slice(at, whole).CopyTo(kept.AsSpan(length));
                length += whole;
            }
            at += whole;
        }
        if (length <= ColorTypeAt || (ulong)length * MaxInflation < PixelBytes(kept)) throw Truncated(name);
        return length == kept.Length ? kept : kept[..length];
    }

    /// <summary>What the data unfolds to by the header, but for the filters' bytes; 0 where it is too large to be read.</summary>
    private static ulong PixelBytes(ReadOnlySpan<byte> png)
    {
        ulong width = BinaryPrimitives.ReadUInt32BigEndian(png[WidthAt..]);
        ulong height = BinaryPrimitives.ReadUInt32BigEndian(png[HeightAt..]);
        if (width * height > ImageFile.MaxSourcePixels) return 0;
        uint samples = png[ColorTypeAt] switch { 2 => 3, 4 => 2, 6 => 4, _ => 1 };
        return width * samples * png[BitsAt] / 8 * height;
    }

    private static EspalierException Truncated(string name) => new($"{name}: the PNG file is truncated; get a whole copy.");
}
