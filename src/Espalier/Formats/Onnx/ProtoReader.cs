using System.Buffers.Binary;
using System.Text;

namespace Espalier.Formats.Onnx;

/// <summary>
/// A protobuf message of a stranger, taken apart field by field without a copy: <c>while (reader.Next()) switch (reader.Field)</c>.
/// No length is believed before it is compared with what is there, so that reading takes no more memory than the message has.
/// </summary>
internal ref struct ProtoReader
{
    /// <summary>Messages inside one another.</summary>
    public const int MostNested = 64;

    private const int LongestVarint = 10;

    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly ProtoSource source;
    private readonly long end;
    private readonly int depth;
    private long position;
    private int wire;

    public ProtoReader(ProtoSource source) : this(source, 0, source.Length, 0)
    {
    }

    private ProtoReader(ProtoSource source, long start, long end, int depth)
    {
        (this.source, position, this.end, this.depth) = (source, start, end, depth);
        if (depth > MostNested) throw new InvalidDataException($"it has messages in more than {MostNested} others");
    }

    /// <summary>Number of the field that is read next.</summary>
    public int Field { get; private set; }

    /// <summary>Goes to the next field, whose value must be read or skipped.</summary>
    public bool Next()
    {
        if (position == end) return false;
        ulong tag = Varint();
        (Field, wire) = ((int)Math.Min(tag >> 3, int.MaxValue), (int)(tag & 7));
        if (Field is 0 or > (1 << 29) - 1) throw new InvalidDataException($"it has a field of number {tag >> 3}");
        return true;
    }

    /// <exception cref="InvalidDataException">The field is of another kind; likewise of the following.</exception>
    public long Int()
    {
        Expect(0);
        return (long)Varint();
    }

    public float Float()
    {
        Expect(5);
        return BinaryPrimitives.ReadSingleLittleEndian(Take(sizeof(float)));
    }

    /// <summary>The bytes of a field, not read.</summary>
    public ProtoBytes Bytes()
    {
        Expect(2);
        ulong length = Varint();
        if (length > (ulong)Math.Min(end - position, int.MaxValue))
            throw new InvalidDataException($"a field says that it has {length} bytes, and {end - position} are left");
        position += (long)length;
        return new ProtoBytes(source, position - (long)length, (int)length);
    }

    public ProtoReader Message() => Inside(Bytes(), depth + 1);

    /// <param name="longest">Bytes.</param>
    public string Text(int longest)
    {
        ProtoBytes bytes = Bytes();
        if (bytes.Length > longest) throw new InvalidDataException($"a text has {bytes.Length} bytes, more than {longest}");
        try
        {
            return Strict.GetString(source.Peek(bytes.Start, bytes.Length));
        }
        catch (DecoderFallbackException e)
        {
            throw new InvalidDataException("a text is not UTF-8", e);
        }
    }

    /// <summary>Adds one number, or all of a packed list.</summary>
    public void Ints(List<long> list)
    {
        if (wire == 0)
        {
            list.Add(Int());
            return;
        }
        ProtoReader packed = Inside(Bytes(), depth);
        while (packed.position < packed.end) list.Add((long)packed.Varint());
    }

    /// <inheritdoc cref="Ints"/>
    public void Floats(List<float> list)
    {
        if (wire == 5)
        {
            list.Add(Float());
            return;
        }
        ProtoReader packed = Inside(Bytes(), depth);
        while (packed.position < packed.end)
            list.Add(BinaryPrimitives.ReadSingleLittleEndian(packed.Take(sizeof(float))));
    }

    /// <inheritdoc cref="Ints"/>
    public void Doubles(List<double> list)
    {
        if (wire == 1)
        {
            list.Add(BinaryPrimitives.ReadDoubleLittleEndian(Take(sizeof(double))));
            return;
        }
        ProtoReader packed = Inside(Bytes(), depth);
        while (packed.position < packed.end)
            list.Add(BinaryPrimitives.ReadDoubleLittleEndian(packed.Take(sizeof(double))));
    }

    public void Skip()
    {
        switch (wire)
        {
            case 0: Varint(); break;
            case 1: Take(sizeof(double)); break;
            case 2: Bytes(); break;
            case 5: Take(sizeof(float)); break;
            default: throw new InvalidDataException($"field {Field} is of wire type {wire}, which no model uses");
        }
    }

    private readonly void Expect(int type)
    {
        if (wire != type) throw new InvalidDataException($"field {Field} is of wire type {wire}, not {type}");
    }

    private readonly ProtoReader Inside(ProtoBytes bytes, int nested) => new(source, bytes.Start, bytes.Start + bytes.Length, nested);

    private ReadOnlySpan<byte> Take(int length)
    {
        if (length > end - position) throw new EndOfStreamException();
        position += length;
        return source.Peek(position - length, length);
    }

    private ulong Varint()
    {
        ReadOnlySpan<byte> left = source.Peek(position, (int)Math.Min(LongestVarint, end - position));
        ulong value = 0;
        for (int i = 0; i < Math.Min(LongestVarint, left.Length); i++)
        {
            value |= (ulong)(left[i] & 0x7f) << (7 * i);
            if (left[i] > 0x7f) continue;
            position += i + 1;
            return value;
        }
        throw left.Length < LongestVarint ? new EndOfStreamException() : new InvalidDataException("a number has more than ten bytes");
    }
}
