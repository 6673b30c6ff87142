using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace Espalier.Formats;

/// <summary>One file in a zip archive: where its bytes lie and what they must become.</summary>
internal sealed record ZipEntry(string Name, long HeaderOffset, long CompressedLength, long Length, uint Crc, bool Deflated);

/// <summary>
/// The directory of a zip file from a stranger. Nothing is believed before it is checked against the file: entries lie
/// inside it and do not overlap, names are unique, stored entries have equal sizes, deflated ones do not claim more than
/// deflate can give, and the whole does not claim to unpack to many times the file.
/// </summary>
internal sealed class ZipFileReader
{
    private const int MaxEntries = 200_000;
    private const int MaxDirectoryBytes = 64 << 20;

    // Deflate gives at most 1032 bytes for one. Weights hardly compress, so a whole archive is held to far less,
    // beyond an allowance for small files full of zeros.
    private const long MaxDeflateRatio = 1032, MaxArchiveRatio = 100, FreeBytes = 32 << 20;

    private const int EntrySize = 46, LocalSize = 30, EndSize = 22, End64Size = 56, Locator64Size = 20;

    private readonly Stream stream;
    private readonly OrderedDictionary<string, ZipEntry> entries = [];

    /// <param name="stream">Seekable, and open as long as entries are read.</param>
    /// <exception cref="InvalidDataException">The archive is damaged or makes impossible claims.</exception>
    public ZipFileReader(Stream stream)
    {
        this.stream = stream;
        (long offset, long length, long count) = FindDirectory();
        if (count > MaxEntries)
            throw new InvalidDataException($"the zip directory claims {count} entries; at most {MaxEntries} are read");
        if (length > MaxDirectoryBytes)
            throw new InvalidDataException($"the zip directory claims {length} bytes, which is too much");
        byte[] directory = ReadAt(offset, (int)length);
        int position = 0;
        for (long i = 0; i < count; i++) position += ReadEntry(directory.AsSpan(position), offset);
        if (position != directory.Length) throw new InvalidDataException("the zip directory is longer than its entries");
        CheckLayout(offset);
    }

    /// <summary>By name, in the directory's order.</summary>
    public IReadOnlyDictionary<string, ZipEntry> Entries => entries;

    /// <summary>
    /// The entry's content. It yields exactly <see cref="ZipEntry.Length"/> bytes, or throws
    /// <see cref="InvalidDataException"/>; the checksum is compared when the last byte is read.
    /// </summary>
    public Stream Open(ZipEntry entry)
    {
        Stream raw = new SliceStream(stream, DataOffset(entry), entry.CompressedLength);
        return new VerifiedStream(entry.Deflated ? new DeflateStream(raw, CompressionMode.Decompress) : raw, entry);
    }

    /// <summary>Part of a stored entry, without its checksum; of a deflated one, all before it is unpacked and dropped.</summary>
    public Stream OpenAt(ZipEntry entry, long offset)
    {
        if (offset == 0) return Open(entry);
        if (!entry.Deflated) return new SliceStream(stream, DataOffset(entry) + offset, entry.Length - offset);
        Stream content = Open(entry);
        Span<byte> dropped = stackalloc byte[4096];
        for (long left = offset; left > 0;)
        {
            int step = (int)Math.Min(left, dropped.Length);
            content.ReadExactly(dropped[..step]);
            left -= step;
        }
        return content;
    }

    private (long Offset, long Length, long Count) FindDirectory()
    {
        long tailStart = Math.Max(0, stream.Length - EndSize - ushort.MaxValue);
        byte[] tail = ReadAt(tailStart, (int)(stream.Length - tailStart));
        int at = tail.Length - EndSize;
        while (at >= 0 && !IsEnd(tail.AsSpan(at))) at--;
        if (at < 0) throw new InvalidDataException("the zip directory is missing; the file is cut short, fetch it again");
        ReadOnlySpan<byte> end = tail.AsSpan(at);
        long count = U16(end, 10), length = U32(end, 12), offset = U32(end, 16), before = tailStart + at;
        if (U16(end, 4) != U16(end, 6)) throw new InvalidDataException("a zip archive in several parts is not read");
        if (at >= Locator64Size && U32(tail, at - Locator64Size) == 0x07064b50)
        {
            before = (long)Math.Min(U64(tail, at - Locator64Size + 8), long.MaxValue);
            byte[] end64 = ReadAt(before, End64Size);
            if (U32(end64, 0) != 0x06064b50) throw new InvalidDataException("the zip64 directory is damaged");
            count = (long)Math.Min(U64(end64, 32), long.MaxValue);
            length = (long)Math.Min(U64(end64, 40), long.MaxValue);
            offset = (long)Math.Min(U64(end64, 48), long.MaxValue);
        }
        if (offset > before || length > before - offset)
            throw new InvalidDataException("the zip directory lies outside the file");
        return (offset, length, count);

        // A comment may contain the signature; the true record's comment ends where the file does.
        static bool IsEnd(ReadOnlySpan<byte> from) => U32(from, 0) == 0x06054b50 && U16(from, 20) == from.Length - EndSize;
    }

    /// <summary>Takes one record of the directory; returns its length.</summary>
    private int ReadEntry(ReadOnlySpan<byte> from, long directoryOffset)
    {
        if (from.Length < EntrySize || U32(from, 0) != 0x02014b50) throw new InvalidDataException("the zip directory is damaged");
        int flags = U16(from, 8), method = U16(from, 10), nameLength = U16(from, 28), extraLength = U16(from, 30);
        int total = EntrySize + nameLength + extraLength + U16(from, 32);
        if (total > from.Length) throw new InvalidDataException("the zip directory is damaged");
        string name = Encoding.UTF8.GetString(from.Slice(EntrySize, nameLength));
        ulong compressed = U32(from, 20), length = U32(from, 24), offset = U32(from, 42);
        Widen(from.Slice(EntrySize + nameLength, extraLength), ref length, ref compressed, ref offset);

        string quoted = ReadGuard.Quote(name);
        if ((flags & 1) != 0) throw new InvalidDataException($"zip entry {quoted} is encrypted, which is not read");
        if (method is not (0 or 8))
            throw new InvalidDataException($"zip entry {quoted} is packed by method {method}; only deflate is read");
        if (offset > (ulong)directoryOffset || compressed > (ulong)directoryOffset - offset)
            throw new InvalidDataException($"zip entry {quoted} lies outside the file");
        bool believable = method == 0 ? length == compressed : length <= compressed * MaxDeflateRatio;
        if (!believable)
            throw new InvalidDataException(
                $"zip entry {quoted} claims {length} bytes but holds {compressed}; it is damaged or hostile");
        var entry = new ZipEntry(name, (long)offset, (long)compressed, (long)length, U32(from, 16), method == 8);
        if (!entries.TryAdd(name, entry)) throw new InvalidDataException($"zip entry {quoted} is there twice");
        return total;
    }

    /// <summary>Fields that say 0xFFFFFFFF have their value in the zip64 extra field, in this order.</summary>
    private static void Widen(ReadOnlySpan<byte> extra, ref ulong length, ref ulong compressed, ref ulong offset)
    {
        while (extra.Length >= 4)
        {
            int id = U16(extra, 0), size = U16(extra, 2);
            if (size > extra.Length - 4) return;    // some writers leave padding that is no record
            ReadOnlySpan<byte> values = extra.Slice(4, size);
            extra = extra[(4 + size)..];
            if (id != 1) continue;
            Take(ref length, ref values);
            Take(ref compressed, ref values);
            Take(ref offset, ref values);
        }

        static void Take(ref ulong value, ref ReadOnlySpan<byte> values)
        {
            if (value != uint.MaxValue || values.Length < 8) return;
            value = U64(values, 0);
            values = values[8..];
        }
    }

    private void CheckLayout(long directoryOffset)
    {
        ZipEntry[] sorted = [.. entries.Values.OrderBy(e => e.HeaderOffset)];
        long total = 0;
        for (int i = 0; i < sorted.Length; i++)
        {
            long next = i + 1 < sorted.Length ? sorted[i + 1].HeaderOffset : directoryOffset;
            long smallest = LocalSize + (long)sorted[i].CompressedLength;
            if (next - sorted[i].HeaderOffset < smallest)
                throw new InvalidDataException($"zip entry {ReadGuard.Quote(sorted[i].Name)} overlaps another one");
            total += sorted[i].Length;    // each is at most 1032 times the file, and their number is bounded
        }
        if (total > FreeBytes + MaxArchiveRatio * stream.Length)
            throw new InvalidDataException(
                $"unpacks to {total} bytes, far more than a checkpoint of its size; refused as a zip bomb");
    }

    private long DataOffset(ZipEntry entry)
    {
        byte[] local = ReadAt(entry.HeaderOffset, LocalSize);
        if (U32(local, 0) != 0x04034b50)
            throw new InvalidDataException($"zip entry {ReadGuard.Quote(entry.Name)} does not start where the directory says");
        long offset = entry.HeaderOffset + LocalSize + U16(local, 26) + U16(local, 28);
        if (offset + entry.CompressedLength > stream.Length)
            throw new InvalidDataException($"zip entry {ReadGuard.Quote(entry.Name)} lies outside the file");
        return offset;
    }

    private byte[] ReadAt(long offset, int length)
    {
        if (offset < 0 || length > stream.Length - offset)
            throw new InvalidDataException("the zip directory lies outside the file");
        byte[] bytes = new byte[length];
        stream.Position = offset;
        stream.ReadExactly(bytes);
        return bytes;
    }

    private static ushort U16(ReadOnlySpan<byte> from, int at) => BinaryPrimitives.ReadUInt16LittleEndian(from[at..]);

    private static uint U32(ReadOnlySpan<byte> from, int at) => BinaryPrimitives.ReadUInt32LittleEndian(from[at..]);

    private static ulong U64(ReadOnlySpan<byte> from, int at) => BinaryPrimitives.ReadUInt64LittleEndian(from[at..]);
}
