using System.Buffers.Binary;
using System.Numerics;

namespace Espalier.Formats;

/// <summary>
/// TensorFlow's record framing: length (8 bytes), its checksum (4), the record, its checksum (4), little-endian. The
/// checksum is CRC-32C, rotated and offset so that records may themselves hold checksums.
/// </summary>
internal static class RecordFraming
{
    public const int HeaderLength = 12, FooterLength = 4;
    private const uint MaskOffset = 0xa282ead8;

    public static uint MaskedCrc(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        for (; bytes.Length >= 8; bytes = bytes[8..])
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        foreach (byte b in bytes) crc = BitOperations.Crc32C(crc, b);
        return BitOperations.RotateRight(~crc, 15) + MaskOffset;
    }

    public static void Write(Stream stream, ReadOnlySpan<byte> record)
    {
        Span<byte> header = stackalloc byte[HeaderLength];
        BinaryPrimitives.WriteInt64LittleEndian(header, record.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(header[8..], MaskedCrc(header[..8]));
        Span<byte> footer = stackalloc byte[FooterLength];
        BinaryPrimitives.WriteUInt32LittleEndian(footer, MaskedCrc(record));
        stream.Write(header);
        stream.Write(record);
        stream.Write(footer);
    }
}
