using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Espalier.Formats.Onnx;

/// <summary>A constant of a file that was read: its shape, and where its numbers are.</summary>
internal sealed class OnnxSourceTensor
{
    private const int MostAxes = 16;

    public string Name { get; set; } = "";

    public OnnxType Type { get; set; }

    public int[] Shape { get; private set; } = [];

    /// <summary>Numbers in it.</summary>
    public long Count { get; private set; }

    /// <summary>Little-endian, row-major; or in the lists below, as the file has it.</summary>
    public ProtoBytes Stored { get; set; }

    /// <summary>These bytes, read for this call; none where there are lists.</summary>
    public byte[] Raw => Stored.ToArray();

    public required List<long> Ints { get; init; }

    public required List<float> Floats { get; init; }

    public required List<double> Doubles { get; init; }

    /// <summary>Where the numbers are in another file: location, offset, length. Null where they are in this one.</summary>
    public IReadOnlyDictionary<string, string>? External { get; set; }

    /// <summary>Checks dimensions and how many numbers are there, and takes no memory.</summary>
    public void SetShape(List<long> dims)
    {
        if (dims.Count > MostAxes) throw Wrong($"has {dims.Count} axes");
        Count = 1;
        foreach (long n in dims)
        {
            if (n is < 0 or > int.MaxValue || (n > 0 && Count > int.MaxValue / n)) throw Wrong($"is [{string.Join(",", dims)}]");
            Count *= n;
        }
        Shape = [.. dims.Select(n => (int)n)];
        if (External is not null) return;
        int there = Ints.Count + Floats.Count + Doubles.Count;
        int own = Type switch { OnnxType.Float => Floats.Count, OnnxType.Double => Doubles.Count, _ => Ints.Count };
        if (there != own || (there > 0 && Stored.Length > 0)) throw Wrong("has numbers of another type, or twice");
        if (there == 0 ? Stored.Length != ByteLength : there != Count)
            throw Wrong($"is [{string.Join(",", Shape)}] of type {Type}, and has {(there == 0 ? $"{Stored.Length} bytes" : $"{there} numbers")}");
    }

    /// <summary>Bytes of the numbers as raw data.</summary>
    public long ByteLength => (Count * Bits + 7) / 8;

    public bool IsFloat => Type.IsFloat();

    /// <summary>Copies the numbers as floats.</summary>
    public void Read(Span<float> to)
    {
        if (Type == OnnxType.Float && Stored.Length > 0) Stored.CopyTo(MemoryMarshal.AsBytes(to));
        else if (Type == OnnxType.Float) CollectionsMarshal.AsSpan(Floats)[..to.Length].CopyTo(to);
        else
        {
            byte[] raw = Raw;
            for (int i = 0; i < to.Length; i++) to[i] = (float)At(i, raw);
        }
    }

    /// <summary>The number at a place, exact but for whole numbers beyond 2^53.</summary>
    /// <param name="raw">The bytes of <see cref="Raw"/>, which loops ask for once.</param>
    public double At(int i, ReadOnlySpan<byte> raw)
    {
        if (raw.Length == 0)
        {
            if (Floats.Count > 0) return Floats[i];
            return Doubles.Count > 0 ? Doubles[i] : OfBits(Ints[i]);
        }
        return Type switch
        {
            OnnxType.Float => BinaryPrimitives.ReadSingleLittleEndian(raw[(4 * i)..]),
            OnnxType.Double => BinaryPrimitives.ReadDoubleLittleEndian(raw[(8 * i)..]),
            OnnxType.Int64 or OnnxType.UInt64 => OfBits(BinaryPrimitives.ReadInt64LittleEndian(raw[(8 * i)..])),
            OnnxType.Int32 or OnnxType.UInt32 => OfBits(BinaryPrimitives.ReadInt32LittleEndian(raw[(4 * i)..])),
            OnnxType.Int4 or OnnxType.UInt4 => OfBits(raw[i / 2] >> (4 * (i % 2)) & 15),
            _ => OfBits(Bits == 16 ? BinaryPrimitives.ReadInt16LittleEndian(raw[(2 * i)..]) : raw[i]),
        };
    }

    /// <summary>A whole number of the file, which may be the pattern of a half-width float.</summary>
    private double OfBits(long bits) => Type switch
    {
        OnnxType.Float16 => (double)BitConverter.Int16BitsToHalf((short)bits),
        OnnxType.BFloat16 => BitConverter.Int32BitsToSingle((int)(ushort)bits << 16),
        OnnxType.Int8 => (sbyte)bits,
        OnnxType.UInt8 => (byte)bits,
        OnnxType.Int16 => (short)bits,
        OnnxType.UInt16 => (ushort)bits,
        OnnxType.Int4 => (bits & 15) - ((bits & 8) << 1),
        OnnxType.UInt4 => bits & 15,
        OnnxType.UInt32 => (uint)bits,
        OnnxType.UInt64 => (ulong)bits,
        OnnxType.Bool => bits == 0 ? 0 : 1,
        _ => bits,
    };

    private int Bits => Type switch
    {
        OnnxType.Int4 or OnnxType.UInt4 => 4,
        OnnxType.UInt8 or OnnxType.Int8 or OnnxType.Bool => 8,
        OnnxType.Float16 or OnnxType.BFloat16 or OnnxType.Int16 or OnnxType.UInt16 => 16,
        OnnxType.Float or OnnxType.Int32 or OnnxType.UInt32 => 32,
        OnnxType.Double or OnnxType.Int64 or OnnxType.UInt64 => 64,
        _ => throw Wrong($"is of the type {(int)Type}, which is not read: text, complex numbers and floats of 8 bits are not"),
    };

    private InvalidDataException Wrong(string what) => new($"the constant {ReadGuard.Quote(Name)} {what}");
}
