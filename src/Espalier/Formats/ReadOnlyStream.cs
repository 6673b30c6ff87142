namespace Espalier.Formats;

/// <summary>What streams that are only read, forwards, have in common.</summary>
internal abstract class ReadOnlyStream : Stream
{
    public sealed override bool CanRead => true;

    public sealed override bool CanSeek => false;

    public sealed override bool CanWrite => false;

    public sealed override long Length => throw new NotSupportedException();

    public sealed override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public sealed override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public abstract override int Read(Span<byte> buffer);

    public sealed override void Flush() { }

    public sealed override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public sealed override void SetLength(long value) => throw new NotSupportedException();

    public sealed override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}

/// <summary>A range of a seekable stream. Several may be open on one stream, on one thread.</summary>
internal sealed class SliceStream(Stream stream, long offset, long length) : ReadOnlyStream
{
    private long position;

    public override int Read(Span<byte> buffer)
    {
        int wanted = (int)Math.Min(buffer.Length, length - position);
        if (wanted <= 0) return 0;
        stream.Position = offset + position;
        int read = stream.Read(buffer[..wanted]);
        position += read;
        return read;
    }
}

/// <summary>Holds an entry's content to the length and the checksum in the zip directory.</summary>
internal sealed class VerifiedStream(Stream content, ZipEntry entry) : ReadOnlyStream
{
    private long left = entry.Length;
    private uint crc;

    public override int Read(Span<byte> buffer)
    {
        if (left == 0 || buffer.Length == 0) return 0;
        int read = content.Read(buffer[..(int)Math.Min(buffer.Length, left)]);
        if (read == 0) throw Damaged("is shorter than the zip directory says");
        crc = Crc32.Append(crc, buffer[..read]);
        left -= read;
        if (left > 0) return read;
        Span<byte> probe = stackalloc byte[1];
        if (entry.Deflated && content.Read(probe) != 0) throw Damaged("is longer than the zip directory says");
        if (crc != entry.Crc)
            throw Damaged("does not match its checksum: the file is damaged, or was saved with set_crc32_options(False)");
        return read;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing) content.Dispose();
        base.Dispose(disposing);
    }

    private InvalidDataException Damaged(string what) => new($"zip entry {ReadGuard.Quote(entry.Name)} {what}");
}
