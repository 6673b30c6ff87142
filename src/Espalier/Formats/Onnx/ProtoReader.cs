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

    private readonly ReadOnlyMemory<byte> message;
    private readonly int depth;
    private int position;
    private int wire;

    public ProtoReader(ReadOnlyMemory<byte> message) : this(message, 0)
    {
    }

    private ProtoReader(ReadOnlyMemory<byte> message, int depth)
    {
        (this.message, this.depth) = (message, depth);
        if (depth > MostNested) throw new InvalidDataException($"it has messages in more than {MostNested} others");
    }

    /// <summary>Number of the field that is read next.</summary>
    public int Field { get; private set; }

    private readonly ReadOnlySpan<byte> Left => message.Span[position..];

    /// <summary>Goes to the next field, whose value must be read or skipped.</summary>
    public bool Next()
    {
        if (position == message.Length) return false;
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
        return BinaryPrimitives.ReadSingleLittleEndian(Take(sizeof(float)).Span);
    }

    /// <summary>The bytes of a field, not copied.</summary>
    public ReadOnlyMemory<byte> Bytes()
    {
        Expect(2);
        ulong length = Varint();
        return length <= (ulong)(message.Length - position) ? Take((int)length)
            : throw new InvalidDataException($"a field says that it has {length} bytes, and {message.Length - position} are left");
    }

    public ProtoReader Message() => new(Bytes(), depth + 1);

    /// <param name="longest">Bytes.</param>
    public string Text(int longest)
    {
        ReadOnlyMemory<byte> bytes = Bytes();
        if (bytes.Length > longest) throw new InvalidDataException($"a text has {bytes.Length} bytes, more than {longest}");
        try
        {
            return Strict.GetString(bytes.Span);
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
        var packed = new ProtoReader(Bytes(), depth);
        while (packed.position < packed.message.Length) list.Add((long)packed.Varint());
    }

    /// <inheritdoc cref="Ints"/>
    public void Floats(List<float> list)
    {
        if (wire == 5)
        {
            list.Add(Float());
            return;
        }
        var packed = new ProtoReader(Bytes(), depth);
        while (packed.position < packed.message.Length)
            list.Add(BinaryPrimitives.ReadSingleLittleEndian(packed.Take(sizeof(float)).Span));
    }

    /// <inheritdoc cref="Ints"/>
    public void Doubles(List<double> list)
    {
        if (wire == 1)
        {
            list.Add(BinaryPrimitives.ReadDoubleLittleEndian(Take(sizeof(double)).Span));
            return;
        }
        var packed = new ProtoReader(Bytes(), depth);
        while (packed.position < packed.message.Length)
            list.Add(BinaryPrimitives.ReadDoubleLittleEndian(packed.Take(sizeof(double)).Span));
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

    private ReadOnlyMemory<byte> Take(int length)
    {
        if (length > message.Length - position) throw new EndOfStreamException();
        position += length;
        return message.Slice(position - length, length);
    }

    private ulong Varint()
    {
        ReadOnlySpan<byte> left = Left;
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
