using System.Buffers.Binary;
using System.IO.Compression;

namespace Espalier.Imaging;

/// <summary>
/// Writes 8-bit PNG files (PNG specification, 2nd edition) with nothing but the runtime, so that pictures can be written
/// where libpng is not installed. Each row is filtered by its difference to the row above (filter 2).
/// </summary>
public static class PngWriter
{
    private static readonly uint[] CrcTable = MakeCrcTable();

    /// <summary>Writes through a temporary file beside the target, so that no half picture is left behind.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public static void Write(string path, Image image)
    {
        string part = path + ".part";
        try
        {
            using (var file = File.Create(part)) Write(file, image);
            File.Move(part, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (File.Exists(part)) File.Delete(part);
            throw new EspalierException($"{path}: cannot write the image: {e.Message}", e);
        }
    }

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
        uint crc = ~Crc(Crc(uint.MaxValue, type), data);
        BinaryPrimitives.WriteUInt32BigEndian(word, crc);
        stream.Write(word);
    }

    private static uint Crc(uint crc, ReadOnlySpan<byte> data)
    {
        foreach (byte b in data) crc = CrcTable[(byte)(crc ^ b)] ^ (crc >> 8);
        return crc;
    }

    private static uint[] MakeCrcTable()
    {
        var table = new uint[256];
        for (uint n = 0; n < 256; n++)
        {
            uint c = n;
            for (int bit = 0; bit < 8; bit++) c = (c & 1) != 0 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
            table[n] = c;
        }
        return table;
    }
}
