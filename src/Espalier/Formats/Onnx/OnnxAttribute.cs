namespace Espalier.Formats.Onnx;

/// <summary>A named constant of a node: a number, a float, a word or a list of numbers.</summary>
internal sealed record OnnxAttribute
{
    // AttributeProto.AttributeType.
    private const int FloatType = 1, IntType = 2, TextType = 3, IntsType = 7;

    private readonly string name;
    private readonly string? text;
    private readonly float? real;
    private readonly long[] numbers;
    private readonly bool list;

    private OnnxAttribute(string name, float? real, long[] numbers, bool list, string? text = null) =>
        (this.name, this.real, this.numbers, this.list, this.text) = (name, real, numbers, list, text);

    public static OnnxAttribute Int(string name, long value) => new(name, null, [value], list: false);

    public static OnnxAttribute Ints(string name, params long[] values) => new(name, null, values, list: true);

    public static OnnxAttribute Float(string name, float value) => new(name, value, [], list: false);

    public static OnnxAttribute Text(string name, string value) => new(name, null, [], list: false, value);

    /// <summary>AttributeProto: name 1, f 2, i 3, s 4, ints 8, type 20.</summary>
    public ProtoMessage Encode()
    {
        ProtoMessage message = new ProtoMessage().Text(1, name);
        if (text is not null) return message.Text(4, text).Int(20, TextType);
        if (real is { } value) return message.Float(2, value).Int(20, FloatType);
        foreach (long number in numbers) message.Int(list ? 8 : 3, number);
        return message.Int(20, list ? IntsType : IntType);
    }
}
