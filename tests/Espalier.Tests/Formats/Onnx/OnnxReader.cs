using System.Text;
using Google.Protobuf;

namespace Espalier.Tests.Formats.Onnx;

/// <summary>A protobuf message taken apart: the values of each field, in order.</summary>
internal sealed class ProtoFields
{
    private readonly Dictionary<int, List<object>> fields = [];

    public ProtoFields(byte[] message)
    {
        using var input = new CodedInputStream(message);
        for (uint tag = input.ReadTag(); tag != 0; tag = input.ReadTag())
        {
            object value = WireFormat.GetTagWireType(tag) switch
            {
                WireFormat.WireType.Varint => input.ReadInt64(),
                WireFormat.WireType.Fixed32 => input.ReadFloat(),
                WireFormat.WireType.LengthDelimited => input.ReadBytes().ToByteArray(),
                var other => throw new InvalidDataException($"{other} is not used in a model"),
            };
            int field = WireFormat.GetTagFieldNumber(tag);
            if (!fields.TryGetValue(field, out List<object>? values)) fields[field] = values = [];
            values.Add(value);
        }
    }

    public long Int(int field) => (long)Assert.Single(fields[field]);

    public long[] Ints(int field) => [.. Values(field).Cast<long>()];

    public float Float(int field) => (float)Assert.Single(fields[field]);

    public byte[] Bytes(int field) => (byte[])Assert.Single(fields[field]);

    public string Text(int field) => Encoding.UTF8.GetString(Bytes(field));

    public string[] Texts(int field) => [.. Values(field).Select(v => Encoding.UTF8.GetString((byte[])v))];

    public ProtoFields Message(int field) => new(Bytes(field));

    public ProtoFields[] Messages(int field) => [.. Values(field).Select(v => new ProtoFields((byte[])v))];

    private List<object> Values(int field) => fields.GetValueOrDefault(field, []);
}

/// <summary>What a model file says, read by the field numbers of onnx.proto.</summary>
internal sealed class OnnxReader
{
    public OnnxReader(string path)
    {
        var model = new ProtoFields(File.ReadAllBytes(path));
        ProtoFields graph = model.Message(7);
        IrVersion = model.Int(1);
        Producer = model.Text(2);
        Opset = model.Message(8).Int(2);
        Metadata = model.Messages(14).ToDictionary(e => e.Text(1), e => e.Text(2));
        Inputs = [.. graph.Messages(11).Select(Value)];
        Outputs = [.. graph.Messages(12).Select(Value)];
        Constants = graph.Messages(5).ToDictionary(t => t.Text(8), t => (t.Ints(1), t.Int(2), t.Bytes(9)));
        Nodes = [.. graph.Messages(1).Select(n => (n.Text(4), n.Texts(1), n.Texts(2)))];
    }

    public long IrVersion { get; }

    public string Producer { get; }

    public long Opset { get; }

    public Dictionary<string, string> Metadata { get; }

    /// <summary>Such as "images 1 [N, 3, 224, 224]", 1 being the type.</summary>
    public string[] Inputs { get; }

    public string[] Outputs { get; }

    public Dictionary<string, (long[] Shape, long Type, byte[] Data)> Constants { get; }

    public (string Operator, string[] Inputs, string[] Outputs)[] Nodes { get; }

    private static string Value(ProtoFields value)
    {
        ProtoFields tensor = value.Message(2).Message(1);
        IEnumerable<string> sizes = tensor.Message(2).Messages(1).Select(d => d.Ints(1) is [var n] ? $"{n}" : d.Text(2));
        return $"{value.Text(1)} {tensor.Int(1)} [{string.Join(", ", sizes)}]";
    }
}
