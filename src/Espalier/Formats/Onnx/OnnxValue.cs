using System.Globalization;

namespace Espalier.Formats.Onnx;

/// <summary>An input or output of a graph.</summary>
/// <param name="Shape">A number for each dimension, or a name for one that is known when the graph runs.</param>
internal sealed record OnnxValue(string Name, OnnxType Type, IReadOnlyList<string> Shape)
{
    public override string ToString() => $"{Name} [{string.Join(", ", Shape)}]";

    /// <summary>
    /// ValueInfoProto: name 1, type 2; TypeProto: tensor_type 1; Tensor: elem_type 1, shape 2; TensorShapeProto: dim 1;
    /// Dimension: dim_value 1, dim_param 2.
    /// </summary>
    public ProtoMessage Encode()
    {
        var shape = new ProtoMessage();
        foreach (string size in Shape)
        {
            var dimension = new ProtoMessage();
            bool known = long.TryParse(size, NumberStyles.None, CultureInfo.InvariantCulture, out long value);
            shape.Message(1, known ? dimension.Int(1, value) : dimension.Text(2, size));
        }
        ProtoMessage tensor = new ProtoMessage().Int(1, (int)Type).Message(2, shape);
        return new ProtoMessage().Text(1, Name).Message(2, new ProtoMessage().Message(1, tensor));
    }
}
