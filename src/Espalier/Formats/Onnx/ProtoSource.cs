using Microsoft.Win32.SafeHandles;

namespace Espalier.Formats.Onnx;

/// <summary>Where bytes can be had from.</summary>
internal interface IBytes
{
    /// <exception cref="EndOfStreamException">The file became shorter meanwhile.</exception>
    void CopyTo(long start, Span<byte> to);
}

/// <summary>Where the bytes of a message are: in memory, or in a file of which no more is held than a window.</summary>
internal abstract class ProtoSource : IBytes
{
    public abstract long Length { get; }

    /// <summary>Some bytes, good until the next call.</summary>
    public abstract ReadOnlySpan<byte> Peek(long start, int count);

    /// <inheritdoc/>
    public abstract void CopyTo(long start, Span<byte> to);

    public static ProtoSource Of(ReadOnlyMemory<byte> bytes) => new InMemory(bytes);

    private sealed class InMemory(ReadOnlyMemory<byte> bytes) : ProtoSource
    {
        public override long Length => bytes.Length;

        public override ReadOnlySpan<byte> Peek(long start, int count) => bytes.Span.Slice((int)start, count);

        public override void CopyTo(long start, Span<byte> to) => Peek(start, to.Length).CopyTo(to);
    }
}

/// <summary>An open file. Constants of models are copied straight from it to where they are used.</summary>
internal sealed class ProtoFile(SafeFileHandle file) : ProtoSource, IDisposable
{
    private const int Window = 1 << 16;

    private byte[] window = [];
    private long first;
    private int held;

    public override long Length { get; } = RandomAccess.GetLength(file);

    public static ProtoFile Open(string path) => new(File.OpenHandle(path));

    public override ReadOnlySpan<byte> Peek(long start, int count)
    {
        if (start < first || start + count > first + held)
        {
            if (window.Length < Math.Max(count, Window)) window = new byte[Math.Max(count, Window)];
            (first, held) = (start, (int)Math.Min(window.Length, Length - start));
            CopyTo(start, window.AsSpan(0, held));
        }
        return window.AsSpan((int)(start - first), count);
    }

    public override void CopyTo(long start, Span<byte> to)
    {
        for (int done = 0; done < to.Length;)
        {
            int read = RandomAccess.Read(file, to[done..], start + done);
            if (read == 0) throw new EndOfStreamException();
            done += read;
        }
    }

    public void Dispose() => file.Dispose();
}

/// <summary>Bytes of a source that nobody has asked for yet.</summary>
internal readonly record struct ProtoBytes(IBytes? Source, long Start, int Length)
{
    /// <param name="to">As long as this.</param>
    public void CopyTo(Span<byte> to)
    {
        if (to.Length != Length) throw new InvalidDataException($"{to.Length} bytes are wanted where {Length} are");
        Source?.CopyTo(Start, to);
    }

    public byte[] ToArray()
    {
        byte[] copy = new byte[Length];
        CopyTo(copy);
        return copy;
    }
}
