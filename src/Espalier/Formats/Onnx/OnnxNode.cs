namespace Espalier.Formats.Onnx;

/// <summary>One operator: what it reads and what it gives, by name.</summary>
internal sealed record OnnxNode(
    string Operator, string Name, IReadOnlyList<string> Inputs, IReadOnlyList<string> Outputs,
    IReadOnlyList<OnnxAttribute> Attributes)
{
    /// <summary>NodeProto: input 1, output 2, name 3, op_type 4, attribute 5.</summary>
    public ProtoMessage Encode()
    {
        var message = new ProtoMessage();
        foreach (string input in Inputs) message.Text(1, input);
        foreach (string output in Outputs) message.Text(2, output);
        message.Text(3, Name).Text(4, Operator);
        foreach (OnnxAttribute attribute in Attributes) message.Message(5, attribute.Encode());
        return message;
    }
}
