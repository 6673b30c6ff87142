using System.Buffers;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace Espalier.Formats;

/// <summary>Turns stored elements of any type into floats.</summary>
internal static class ElementReader
{
    private const int ChunkBytes = 1 << 16;
    private const int DirectFloats = 1 << 26;

    /// <summary>Reads exactly as many elements as <paramref name="destination"/> holds.</summary>
    /// <exception cref="EndOfStreamException">The stream ends before.</exception>
    public static void ReadFloats(Stream stream, ElementType type, Span<float> destination)
    {
        if (type == ElementType.F32)
        {
            // Straight into the caller's memory, in pieces whose byte count fits an int.
            while (destination.Length > 0)
            {
                Span<float> piece = destination[..Math.Min(destination.Length, DirectFloats)];
                Span<byte> bytes = MemoryMarshal.AsBytes(piece);
                if (bytes.Length >= LargeReads.Least && stream is FileStream file)
                {
                    LargeReads.Exactly(file.SafeFileHandle, file.Position, bytes);
                    file.Position += bytes.Length;
                }
                else stream.ReadExactly(bytes);
                destination = destination[piece.Length..];
            }
            return;
        }
        int size = type.Size();
        byte[] buffer = ArrayPool<byte>.Shared.Rent(ChunkBytes);
        try
        {
            while (destination.Length > 0)
            {
                int count = Math.Min(destination.Length, ChunkBytes / size);
                Span<byte> bytes = buffer.AsSpan(0, count * size);
                stream.ReadExactly(bytes);
                ToFloats(type, bytes, destination[..count]);
                destination = destination[count..];
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Converts; <paramref name="bytes"/> holds exactly the elements of <paramref name="destination"/>.</summary>
    public static void ToFloats(ElementType type, ReadOnlySpan<byte> bytes, Span<float> destination)
    {
        if (bytes.Length != (long)destination.Length * type.Size())
            throw new ArgumentException($"{bytes.Length} bytes are not {destination.Length} elements of {type}", nameof(bytes));
        switch (type)
        {
            case ElementType.F32: bytes.CopyTo(MemoryMarshal.AsBytes(destination)); break;
            case ElementType.F16: TensorPrimitives.ConvertToSingle(As<Half>(bytes), destination); break;
            case ElementType.F64: TensorPrimitives.ConvertTruncating(As<double>(bytes), destination); break;
            case ElementType.I8: TensorPrimitives.ConvertTruncating(As<sbyte>(bytes), destination); break;
            case ElementType.U8: TensorPrimitives.ConvertTruncating(bytes, destination); break;
            case ElementType.I16: TensorPrimitives.ConvertTruncating(As<short>(bytes), destination); break;
            case ElementType.U16: TensorPrimitives.ConvertTruncating(As<ushort>(bytes), destination); break;
            case ElementType.I32: TensorPrimitives.ConvertTruncating(As<int>(bytes), destination); break;
            case ElementType.U32: TensorPrimitives.ConvertTruncating(As<uint>(bytes), destination); break;
            case ElementType.I64: TensorPrimitives.ConvertTruncating(As<long>(bytes), destination); break;
            case ElementType.U64: TensorPrimitives.ConvertTruncating(As<ulong>(bytes), destination); break;
            case ElementType.Bool:
                for (int i = 0; i < destination.Length; i++) destination[i] = bytes[i] == 0 ? 0f : 1f;
                break;
            case ElementType.BF16:
                ReadOnlySpan<ushort> high = As<ushort>(bytes);
                for (int i = 0; i < destination.Length; i++)
                    destination[i] = BitConverter.UInt32BitsToSingle((uint)high[i] << 16);
                break;
            default: throw new ArgumentOutOfRangeException(nameof(type), type, "no such element type");
        }
    }

    private static ReadOnlySpan<T> As<T>(ReadOnlySpan<byte> bytes) where T : unmanaged => MemoryMarshal.Cast<byte, T>(bytes);
}
