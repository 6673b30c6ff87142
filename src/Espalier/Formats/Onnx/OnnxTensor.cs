using System.Runtime.InteropServices;
using Espalier.Tensors;

namespace Espalier.Formats.Onnx;

/// <summary>Types of elements, numbered as in ONNX's <c>TensorProto.DataType</c>.</summary>
internal enum OnnxType
{
    Float = 1,
    UInt8 = 2,
    Int8 = 3,
    UInt16 = 4,
    Int16 = 5,
    Int32 = 6,
    Int64 = 7,
    Bool = 9,
    Float16 = 10,
    Double = 11,
    UInt32 = 12,
    UInt64 = 13,
    BFloat16 = 16,
    UInt4 = 21,
    Int4 = 22,
}

internal static class OnnxTypes
{
    /// <summary>Whether elements are floats, of any width that is read; else whole numbers or truths.</summary>
    public static bool IsFloat(this OnnxType type) =>
        type is OnnxType.Float or OnnxType.Double or OnnxType.Float16 or OnnxType.BFloat16;
}

/// <summary>A constant of a graph; its bytes are asked for when the file is written.</summary>
/// <param name="Write">Gives the elements, row-major and little-endian.</param>
internal sealed record OnnxTensor(string Name, OnnxType Type, long[] Shape, Action<Stream> Write)
{
    public static OnnxTensor Of(string name, long[] shape, float[] values) =>
        new(name, OnnxType.Float, shape, s => FloatBytes.Write(s, values));

    /// <summary>The tensor as it is when the file is written.</summary>
    public static OnnxTensor Of(string name, Tensor values) =>
        new(name, OnnxType.Float, [.. values.Shape.ToArray().Select(n => (long)n)], s => FloatBytes.Write(s, values.Span));

    public static OnnxTensor Of(string name, long[] shape, long[] values) =>
        new(name, OnnxType.Int64, shape, s => s.Write(MemoryMarshal.AsBytes<long>(values)));

    /// <summary>Bytes of the elements.</summary>
    public long ByteLength => Shape.Aggregate(1L, (a, b) => checked(a * b)) * ElementSize(Type);

    /// <summary>TensorProto: dims 1, data_type 2, name 8, raw_data 9.</summary>
    public ProtoMessage Encode()
    {
        var message = new ProtoMessage();
        foreach (long size in Shape) message.Int(1, size);
        return message.Int(2, (int)Type).Text(8, Name).Promise(9, ByteLength, Write);
    }

    private static int ElementSize(OnnxType type) => type switch
    {
        OnnxType.UInt8 or OnnxType.Int8 or OnnxType.Bool => 1,
        OnnxType.Float16 or OnnxType.BFloat16 => 2,
        OnnxType.Int64 => 8,
        _ => 4,
    };
}
