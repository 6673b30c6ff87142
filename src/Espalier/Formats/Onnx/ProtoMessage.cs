using Google.Protobuf;

namespace Espalier.Formats.Onnx;

/// <summary>
/// A protobuf message as it is put together: small fields are encoded at once, large ones stay promises with a known length
/// that are kept while the file is written. A model of gigabytes is thus never held in encoded form.
/// </summary>
internal sealed class ProtoMessage
{
    private readonly List<Piece> pieces = [];
    private readonly MemoryStream bytes = new();
    private readonly CodedOutputStream encoder;
    private long promised;

    public ProtoMessage() => encoder = new CodedOutputStream(bytes, leaveOpen: true);

    /// <summary>Bytes of the encoded message.</summary>
    public long Length => promised + encoder.Position;

    public ProtoMessage Int(int field, long value)
    {
        encoder.WriteTag(field, WireFormat.WireType.Varint);
        encoder.WriteInt64(value);
        return this;
    }

    public ProtoMessage Float(int field, float value)
    {
        encoder.WriteTag(field, WireFormat.WireType.Fixed32);
        encoder.WriteFloat(value);
        return this;
    }

    public ProtoMessage Text(int field, string value)
    {
        encoder.WriteTag(field, WireFormat.WireType.LengthDelimited);
        encoder.WriteString(value);
        return this;
    }

    /// <summary>A field of <paramref name="length"/> bytes that <paramref name="write"/> gives when the time comes.</summary>
    public ProtoMessage Promise(int field, long length, Action<Stream> write)
    {
        encoder.WriteTag(field, WireFormat.WireType.LengthDelimited);
        encoder.WriteUInt64((ulong)length);
        encoder.Flush();
        pieces.Add(new Piece(bytes.Position, write));
        promised += length;
        return this;
    }

    public ProtoMessage Message(int field, ProtoMessage value) => Promise(field, value.Length, value.CopyTo);

    public void CopyTo(Stream stream)
    {
        encoder.Flush();
        ReadOnlySpan<byte> small = bytes.GetBuffer().AsSpan(0, (int)bytes.Length);
        int start = 0;
        foreach (var (end, write) in pieces)
        {
            stream.Write(small[start..(int)end]);
            write(stream);
            start = (int)end;
        }
        stream.Write(small[start..]);
    }

    /// <summary>A promise, to be kept where the small fields have reached <paramref name="After"/> bytes.</summary>
    private readonly record struct Piece(long After, Action<Stream> Write);
}
