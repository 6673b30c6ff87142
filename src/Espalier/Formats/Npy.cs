using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Espalier.Formats;

/// <summary>What the header of a .npy array says.</summary>
/// <param name="Type">How the elements are stored.</param>
/// <param name="FortranOrder">Whether the first index varies fastest.</param>
/// <param name="Shape">Dimensions; empty for a scalar.</param>
/// <param name="Count">Number of elements.</param>
/// <param name="HeaderLength">Bytes before the first element.</param>
internal sealed record NpyHeader(ElementType Type, bool FortranOrder, int[] Shape, int Count, int HeaderLength);

/// <summary>
/// One array in numpy's .npy format, versions 1 to 3 (the format's description is part of numpy's documentation,
/// "numpy.lib.format"). The header looks like Python source; it is parsed, never evaluated.
/// </summary>
internal static class Npy
{
    private const int MaxHeaderBytes = 1 << 16;
    private const int Alignment = 64;

    public static ReadOnlySpan<byte> Magic => [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];

    /// <summary>Reads an array whose stream has <paramref name="length"/> bytes in all, as floats in row-major order.</summary>
    public static NamedArray Read(Stream stream, string name, long length)
    {
        NpyHeader header = ReadHeader(stream, name);
        long promised = header.HeaderLength + (long)header.Count * header.Type.Size();
        if (promised != length)
            throw new InvalidDataException($"array {ReadGuard.Quote(name)} promises {promised} bytes but has {length}");
        float[] data = new float[header.Count];
        ElementReader.ReadFloats(stream, header.Type, data);
        if (header.FortranOrder && header.Shape.Length > 1)
        {
            float[] rows = new float[data.Length];
            ArrayShape.Gather(data, header.Shape, ArrayShape.ColumnMajorStrides(header.Shape), rows);
            data = rows;
        }
        return new NamedArray(name, header.Shape, data);
    }

    public static NpyHeader ReadHeader(Stream stream, string name)
    {
        Span<byte> start = stackalloc byte[12];
        stream.ReadExactly(start[..10]);
        if (!start.StartsWith(Magic)) throw Bad(name, "does not start as a .npy array");
        int major = start[6], prefix = 10;
        uint length = BinaryPrimitives.ReadUInt16LittleEndian(start[8..]);
        if (major is 2 or 3)
        {
            stream.ReadExactly(start[10..12]);
            length = BinaryPrimitives.ReadUInt32LittleEndian(start[8..]);
            prefix = 12;
        }
        else if (major != 1)
        {
            throw Bad(name, $"is in .npy version {major}; versions 1 to 3 are read");
        }
        if (length > MaxHeaderBytes) throw Bad(name, $"has a header of {length} bytes, which is too long");
        byte[] text = new byte[length];
        stream.ReadExactly(text);
        return new NpyHeaderParser(Encoding.Latin1.GetString(text), name).Parse(prefix + (int)length);
    }

    /// <summary>Writes a version 1 array of little-endian float32 in row-major order.</summary>
    public static void Write(Stream stream, NamedArray array)
    {
        string dims = string.Concat(array.Shape.Select(d => d.ToString(CultureInfo.InvariantCulture) + ", "));
        string text = $"{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims.TrimEnd()}), }}";
        int total = (Magic.Length + 4 + text.Length + 1 + Alignment - 1) / Alignment * Alignment;
        byte[] header = new byte[total];
        Magic.CopyTo(header);
        header[6] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(8), (ushort)(total - 10));
        header.AsSpan(10).Fill((byte)' ');
        Encoding.ASCII.GetBytes(text, header.AsSpan(10));
        header[^1] = (byte)'\n';
        stream.Write(header);
        FloatBytes.Write(stream, array.Data);
    }

    internal static InvalidDataException Bad(string name, string what) => new($"array {ReadGuard.Quote(name)} {what}");
}
