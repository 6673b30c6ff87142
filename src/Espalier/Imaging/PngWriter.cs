using System.Buffers.Binary;
using System.IO.Compression;
using Espalier.Formats;

namespace Espalier.Imaging;

/// <summary>
/// Writes 8-bit PNG files (PNG specification, 2nd edition) with nothing but the runtime. Each row is filtered by its
/// difference to the row above (filter 2).
/// </summary>
public static class PngWriter
{
    /// <summary>Replaces the file whole or not at all.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public static void Write(string path, Image image) => AtomicFile.Write(path, stream => Write(stream, image));

    public static void Write(Stream stream, Image image)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(image);
        stream.Write([0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A]);

        byte[] header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, image.Width);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), image.Height);
        header[8] = 8;                                          // bits a sample
        header[9] = (byte)(image.Channels == 3 ? 2 : 0);        // colour type: RGB or grey
        WriteChunk(stream, "IHDR"u8, header);
        WriteChunk(stream, "IDAT"u8, Compress(image));
        WriteChunk(stream, "IEND"u8, []);
    }

    private static ReadOnlySpan<byte> Compress(Image image)
    {
        int stride = image.Width * image.Channels;
        byte[] row = new byte[stride + 1];
        row[0] = 2;
        var buffer = new MemoryStream();
        using (var zlib = new ZLibStream(buffer, CompressionLevel.Optimal, leaveOpen: true))
            for (int y = 0; y < image.Height; y++)
            {
                var now = image.Pixels.AsSpan(y * stride, stride);
                for (int i = 0; i < stride; i++) row[i + 1] = (byte)(now[i] - (y == 0 ? 0 : image.Pixels[(y - 1) * stride + i]));
                zlib.Write(row);
            }
        return buffer.GetBuffer().AsSpan(0, (int)buffer.Length);
    }

    private static void WriteChunk(Stream stream, ReadOnlySpan<byte> type, ReadOnlySpan<byte> data)
    {
        Span<byte> word = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(word, data.Length);
        stream.Write(word);
        stream.Write(type);
        stream.Write(data);
        BinaryPrimitives.WriteUInt32BigEndian(word, Crc32.Append(Crc32.Append(0, type), data));
        stream.Write(word);
    }
}
