using System.Buffers.Binary;
using Google.Protobuf;

namespace Espalier.Formats;

/// <summary>One point of a curve.</summary>
/// <param name="Tag">The curve's name.</param>
/// <param name="Value">Its value.</param>
/// <param name="Step">Position on the horizontal axis.</param>
/// <param name="WallTime">Seconds since 1970.</param>
public sealed record ScalarEvent(string Tag, float Value, long Step, double WallTime);

/// <summary>The scalars of one event file.</summary>
/// <param name="Scalars">In the file's order.</param>
/// <param name="Truncated">The last record is incomplete: the run is still writing, or ended in the middle of it.</param>
public sealed record EventFile(IReadOnlyList<ScalarEvent> Scalars, bool Truncated);

/// <summary>Reads scalars from TensorBoard event files, checking every checksum; other kinds of summaries are skipped.</summary>
public static class EventReader
{
    private const int MaxRecordBytes = 64 << 20;

    /// <exception cref="EspalierException">
    /// The file is missing, is no event file, or is damaged before its last record.
    /// </exception>
    public static EventFile Read(string path) => ReadGuard.Open(path, ReadRecords);

    /// <summary>Reads from a seekable stream; <paramref name="source"/> names it in messages.</summary>
    /// <inheritdoc cref="Read(string)" path="/exception"/>
    public static EventFile Read(Stream stream, string source) => ReadGuard.Run(source, () => ReadRecords(stream));

    private static EventFile ReadRecords(Stream stream)
    {
        List<ScalarEvent> scalars = [];
        Span<byte> header = stackalloc byte[RecordFraming.HeaderLength];
        Span<byte> footer = stackalloc byte[RecordFraming.FooterLength];
        while (stream.Length - stream.Position is > 0 and var left)
        {
            if (left < header.Length) return new EventFile(scalars, true);
            long at = stream.Position;
            stream.ReadExactly(header);
            ulong length = BinaryPrimitives.ReadUInt64LittleEndian(header);
            if (BinaryPrimitives.ReadUInt32LittleEndian(header[8..]) != RecordFraming.MaskedCrc(header[..8]))
                throw new InvalidDataException(
                    $"no event record at byte {at} (its checksum is wrong); damaged, or not an event file");
            if (length > MaxRecordBytes)
                throw new InvalidDataException($"the record at byte {at} claims {length} bytes, which is too much");
            if ((long)length + footer.Length > stream.Length - stream.Position) return new EventFile(scalars, true);
            byte[] record = new byte[length];
            stream.ReadExactly(record);
            stream.ReadExactly(footer);
            if (BinaryPrimitives.ReadUInt32LittleEndian(footer) != RecordFraming.MaskedCrc(record))
                throw new InvalidDataException($"the record at byte {at} does not match its checksum; the file is damaged");
            try
            {
                ReadEvent(record, scalars);
            }
            catch (InvalidProtocolBufferException e)
            {
                throw new InvalidDataException($"the record at byte {at} is not an event; the file is damaged", e);
            }
        }
        return new EventFile(scalars, false);
    }

    private static void ReadEvent(byte[] record, List<ScalarEvent> scalars)
    {
        var input = new CodedInputStream(record);
        double wallTime = 0;
        long step = 0;
        byte[]? summary = null;
        while (input.ReadTag() is > 0 and var tag)
        {
            switch (tag)
            {
                case (1 << 3) | (int)WireFormat.WireType.Fixed64: wallTime = input.ReadDouble(); break;
                case (2 << 3) | (int)WireFormat.WireType.Varint: step = input.ReadInt64(); break;
                case (5 << 3) | (int)WireFormat.WireType.LengthDelimited: summary = input.ReadBytes().ToByteArray(); break;
                default: input.SkipLastField(); break;
            }
        }
        if (summary is null) return;
        var values = new CodedInputStream(summary);
        while (values.ReadTag() is > 0 and var tag)
        {
            if (tag != ((1 << 3) | (int)WireFormat.WireType.LengthDelimited)) values.SkipLastField();
            else if (ReadValue(values.ReadBytes().ToByteArray()) is (string name, float value))
                scalars.Add(new ScalarEvent(name, value, step, wallTime));
        }
    }

    /// <summary>A summary value with a tag and a simple value; anything else is null.</summary>
    private static (string Tag, float Value)? ReadValue(byte[] message)
    {
        var input = new CodedInputStream(message);
        string? name = null;
        float? value = null;
        while (input.ReadTag() is > 0 and var tag)
        {
            switch (tag)
            {
                case (1 << 3) | (int)WireFormat.WireType.LengthDelimited: name = input.ReadString(); break;
                case (2 << 3) | (int)WireFormat.WireType.Fixed32: value = input.ReadFloat(); break;
                default: input.SkipLastField(); break;
            }
        }
        return name is not null && value is { } known ? (name, known) : null;
    }
}
