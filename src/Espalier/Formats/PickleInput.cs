using System.Buffers.Binary;
using System.Text;

namespace Espalier.Formats;

/// <summary>The bytes of a pickle. Lengths in it are believed only as far as there are bytes.</summary>
internal sealed class PickleInput(Stream stream, long length)
{
    private const int MaxLine = 512;
    private const int TrustedBytes = 1 << 20;

    private static readonly UTF8Encoding StrictUtf8 = new(false, throwOnInvalidBytes: true);

    private readonly byte[] buffer = new byte[1 << 14];
    private int start, end;
    private long left = length;

    /// <summary>Bytes taken so far.</summary>
    public long Consumed { get; private set; }

    public byte ReadByte()
    {
        if (start == end) Fill();
        start++;
        left--;
        Consumed++;
        return buffer[start - 1];
    }

    public ushort ReadUInt16()
    {
        Span<byte> bytes = stackalloc byte[2];
        Read(bytes);
        return BinaryPrimitives.ReadUInt16LittleEndian(bytes);
    }

    public uint ReadUInt32()
    {
        Span<byte> bytes = stackalloc byte[4];
        Read(bytes);
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    public ulong ReadUInt64()
    {
        Span<byte> bytes = stackalloc byte[8];
        Read(bytes);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    public double ReadDouble()
    {
        Span<byte> bytes = stackalloc byte[8];
        Read(bytes);
        return BinaryPrimitives.ReadDoubleBigEndian(bytes);
    }

    public byte[] ReadBytes(ulong count)
    {
        if (count > (ulong)left)
            throw new InvalidDataException($"the pickle claims {count} bytes where it has fewer; it is truncated");
        if (count > (ulong)Array.MaxLength) throw new InvalidDataException("the pickle holds more than 2 GiB in one piece");
        bool known = left != long.MaxValue && stream.CanSeek;
        if (known || count <= TrustedBytes)
        {
            byte[] bytes = new byte[count];
            Read(bytes);
            return bytes;
        }
        // The stream's true length is unknown (it is unpacked on the way), so memory grows with what arrives.
        using var grown = new MemoryStream(TrustedBytes);
        byte[] piece = new byte[TrustedBytes / 8];
        for (ulong missing = count; missing > 0;)
        {
            Span<byte> part = piece.AsSpan(0, (int)Math.Min(missing, (ulong)piece.Length));
            Read(part);
            grown.Write(part);
            missing -= (ulong)part.Length;
        }
        return grown.ToArray();
    }

    public string ReadUtf8(ulong count)
    {
        try
        {
            return StrictUtf8.GetString(ReadBytes(count));
        }
        catch (DecoderFallbackException e)
        {
            throw new InvalidDataException("the pickle has a text that is not UTF-8", e);
        }
    }

    /// <summary>A line of ASCII, as the names of globals are.</summary>
    public string ReadLine()
    {
        var line = new StringBuilder();
        for (byte b = ReadByte(); b != '\n'; b = ReadByte())
        {
            if (line.Length == MaxLine) throw new InvalidDataException("the pickle has a name that is too long");
            line.Append((char)b);
        }
        return line.ToString();
    }

    private void Read(Span<byte> to)
    {
        if (to.Length > left) throw new InvalidDataException("the pickle is truncated");
        left -= to.Length;
        Consumed += to.Length;
        int buffered = Math.Min(to.Length, end - start);
        buffer.AsSpan(start, buffered).CopyTo(to);
        start += buffered;
        if (buffered < to.Length) stream.ReadExactly(to[buffered..]);
    }

    private void Fill()
    {
        // Below zero where the file became shorter than the place at which the pickle begins.
        if (left <= 0) throw new InvalidDataException("the pickle is truncated");
        start = 0;
        end = stream.Read(buffer.AsSpan(0, (int)Math.Min(buffer.Length, left)));
        if (end == 0) throw new InvalidDataException("the pickle is truncated");
    }
}
