using System.Text;

namespace Espalier.Formats;

/// <summary>
/// The regular files of a tar archive, in order, as POSIX's ustar has them: blocks of 512 bytes, a header of one block before each
/// file. Headers of other kinds, such as long names, are passed over unread, whatever length they claim.
/// </summary>
internal sealed class TarFile(Stream stream)
{
    private const int Block = 512, NameLength = 100, SizeAt = 124, SizeLength = 12, SumAt = 148, SumLength = 8, KindAt = 156,
        PrefixAt = 345, PrefixLength = 155;

    private readonly byte[] header = new byte[Block];
    private long left;

    /// <summary>Goes to the next file; null behind the last one.</summary>
    /// <exception cref="InvalidDataException">The header is damaged.</exception>
    /// <exception cref="EndOfStreamException">The archive is cut short.</exception>
    public (string Name, long Length)? Next()
    {
        while (true)
        {
            Skip(left);
            left = 0;
            int read = stream.ReadAtLeast(header, Block, throwOnEndOfStream: false);
            if (read == 0 || header.AsSpan().IndexOfAnyExcept((byte)0) < 0) return null;
            if (read < Block) throw new EndOfStreamException();
            long size = Number(header.AsSpan(SizeAt, SizeLength), "size");
            if (Number(header.AsSpan(SumAt, SumLength), "checksum") != Sum()) throw new InvalidDataException("a header's checksum is wrong");
            left = checked((size + Block - 1) / Block * Block);
            if (header[KindAt] is not ((byte)'0' or 0)) continue;
            string prefix = Text(header.AsSpan(PrefixAt, PrefixLength)), name = Text(header.AsSpan(0, NameLength));
            bool ustar = header.AsSpan(257, 5).SequenceEqual("ustar"u8) && header[262] == 0;
            return (ustar && prefix.Length > 0 ? $"{prefix}/{name}" : name, size);
        }
    }

    /// <summary>Reads the whole file that <see cref="Next"/> came to.</summary>
    public byte[] Read(long length)
    {
        byte[] data = new byte[length];
        stream.ReadExactly(data);
        left -= length;
        return data;
    }

    private void Skip(long count)
    {
        if (stream.CanSeek)
        {
            if (count > stream.Length - stream.Position) throw new EndOfStreamException();
            stream.Position += count;
            return;
        }
        Span<byte> part = stackalloc byte[4096];
        while (count > 0)
        {
            int read = stream.Read(part[..(int)Math.Min(part.Length, count)]);
            if (read == 0) throw new EndOfStreamException();
            count -= read;
        }
    }

    /// <summary>Of the header, with blanks in the place of the sum itself.</summary>
    private int Sum()
    {
        int sum = SumLength * ' ';
        for (int i = 0; i < Block; i++) if (i is < SumAt or >= SumAt + SumLength) sum += header[i];
        return sum;
    }

    private static string Text(ReadOnlySpan<byte> field) =>
        Encoding.UTF8.GetString(field.IndexOf((byte)0) is var end and >= 0 ? field[..end] : field);

    /// <summary>Octal digits, with blanks or zeros around.</summary>
    private static long Number(ReadOnlySpan<byte> field, string what)
    {
        long value = 0;
        foreach (byte c in Encoding.ASCII.GetBytes(Text(field).Trim(' ')))
        {
            if (c is < (byte)'0' or > (byte)'7') throw new InvalidDataException($"a header's {what} is no number");
            value = value * 8 + (c - '0');
        }
        return value;
    }
}
