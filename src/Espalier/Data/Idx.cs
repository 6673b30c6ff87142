using System.Buffers.Binary;
using System.IO.Compression;

namespace Espalier.Data;

/// <summary>An array of bytes from an IDX file.</summary>
/// <param name="Shape">Outermost first.</param>
public sealed record IdxArray(int[] Shape, byte[] Data);

/// <summary>
/// The IDX format of MNIST and its relatives, unsigned bytes only: two zero bytes, the type 0x08, the number of dimensions,
/// each dimension as a big-endian 32-bit number, the data. Plain or gzip.
/// </summary>
public static class Idx
{
    private const long MaxBytes = 1L << 30;
    private const int MaxDeflateRatio = 1032;       // no deflate stream unfolds further (zlib's documentation)

    /// <exception cref="EspalierException">Missing, not IDX, or not exactly as long as its header says.</exception>
    public static IdxArray Read(string path, int dimensions)
    {
        try
        {
            using var file = File.OpenRead(path);
            return Read(file, file.Length, path, dimensions);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{path}: cannot read: {e.Message}", e);
        }
    }

    /// <param name="length">Bytes in <paramref name="stream"/>, compressed where it is gzip; bounds what is allocated.</param>
    /// <param name="name">What errors call it; gzip where it ends in .gz.</param>
    /// <param name="dimensions">Dimensions that the array must have.</param>
    public static IdxArray Read(Stream stream, long length, string name, int dimensions)
    {
        bool zipped = name.EndsWith(".gz", StringComparison.OrdinalIgnoreCase);
        try
        {
            using var unzipped = zipped ? new GZipStream(stream, CompressionMode.Decompress, leaveOpen: true) : null;
            return ReadPlain(unzipped ?? stream, zipped ? length * MaxDeflateRatio : length, name, dimensions);
        }
        catch (EndOfStreamException)
        {
            throw new EspalierException($"{name}: the IDX file is truncated; get a whole copy.");
        }
        catch (InvalidDataException e)
        {
            throw new EspalierException($"{name}: damaged gzip file: {e.Message}", e);
        }
    }

    private static IdxArray ReadPlain(Stream stream, long longest, string name, int dimensions)
    {
        Span<byte> word = stackalloc byte[4];
        stream.ReadExactly(word);
        if (word[0] != 0 || word[1] != 0 || word[2] != 8 || word[3] != dimensions)
            throw new EspalierException($"{name}: not an IDX file of bytes in {dimensions} dimensions "
                + $"(it starts with {Convert.ToHexString(word)}, not {0x0800 + dimensions:X8}).");
        int[] shape = new int[dimensions];
        long total = 1;
        for (int i = 0; i < dimensions; i++)
        {
            stream.ReadExactly(word);
            uint size = BinaryPrimitives.ReadUInt32BigEndian(word);
            if (size == 0 || size > MaxBytes || (total *= size) > MaxBytes)
                throw new EspalierException($"{name}: damaged IDX file: its dimension {i} is {size}.");
            shape[i] = (int)size;
        }
        if (total > longest) throw new EndOfStreamException();
        byte[] data = new byte[total];
        stream.ReadExactly(data);
        if (stream.ReadByte() >= 0) throw new EspalierException($"{name}: damaged IDX file: it is longer than its header says.");
        return new IdxArray(shape, data);
    }
}
