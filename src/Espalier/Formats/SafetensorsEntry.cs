using System.Runtime.InteropServices;

namespace Espalier.Formats;

/// <summary>One entry to write: its type and shape, and the bytes when their turn comes.</summary>
public sealed class SafetensorsEntry
{
    private readonly Action<Stream> write;

    /// <param name="name">The key; not empty and not <c>__metadata__</c>.</param>
    /// <param name="type">How the elements are stored.</param>
    /// <param name="shape">Dimensions; empty for a scalar.</param>
    /// <param name="write">
    /// Writes exactly the elements, little-endian and row-major; for values that lie in memory of another kind.
    /// </param>
    public SafetensorsEntry(string name, ElementType type, int[] shape, Action<Stream> write)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (name == SafetensorsHeader.MetadataKey) throw new ArgumentException("the name is taken by the format", nameof(name));
        if (name.Length > SafetensorsHeader.MaxNameLength) throw new ArgumentException("the name is too long", nameof(name));
        long length = checked(ArrayShape.Count(shape) * type.Size());
        (Name, Type, Shape, Length, this.write) = (name, type, shape, length, write);
    }

    /// <summary>Stored bytes of any type.</summary>
    public SafetensorsEntry(string name, ElementType type, int[] shape, ReadOnlyMemory<byte> bytes)
        : this(name, type, shape, stream => stream.Write(bytes.Span))
    {
        if (bytes.Length != Length)
            throw new ArgumentException($"'{name}' needs {Length} bytes, not {bytes.Length}", nameof(bytes));
    }

    /// <summary>F32 values, [shape] row-major.</summary>
    public static SafetensorsEntry FromFloats(string name, int[] shape, ReadOnlyMemory<float> values)
    {
        var entry = new SafetensorsEntry(name, ElementType.F32, shape, stream => FloatBytes.Write(stream, values.Span));
        if (entry.Length != values.Length * 4L) throw new ArgumentException($"'{name}' has {values.Length} values for its shape");
        return entry;
    }

    /// <summary>A list of I64 values.</summary>
    public static SafetensorsEntry FromLongs(string name, ReadOnlyMemory<long> values) =>
        new(name, ElementType.I64, [values.Length], stream => stream.Write(MemoryMarshal.AsBytes(values.Span)));

    /// <summary>A list of U8 values.</summary>
    public static SafetensorsEntry FromBytes(string name, ReadOnlyMemory<byte> values) =>
        new(name, ElementType.U8, [values.Length], values);

    public string Name { get; }

    public ElementType Type { get; }

    public int[] Shape { get; }

    /// <summary>Bytes.</summary>
    public long Length { get; }

    internal void WriteTo(Stream stream)
    {
        long start = stream.Position;
        write(stream);
        if (stream.Position - start != Length)
            throw new InvalidOperationException($"entry '{Name}' wrote {stream.Position - start} bytes instead of {Length}");
    }
}
