namespace Espalier.Formats.Onnx;

/// <summary>A graph as it is put together, node after node in the order of computation.</summary>
/// <param name="opset">Version of the standard operators that it is written in.</param>
internal sealed class OnnxGraph(string name, int opset)
{
    private readonly List<OnnxNode> nodes = [];
    private readonly OrderedDictionary<string, OnnxTensor> constants = [];
    private readonly HashSet<string> names = [];

    public int Opset => opset;

    public List<OnnxValue> Inputs { get; } = [];

    public List<OnnxValue> Outputs { get; } = [];

    /// <summary>Adds an operator with one output, which gets the node's name and is returned.</summary>
    public string Node(string op, string name, IReadOnlyList<string> inputs, params IReadOnlyList<OnnxAttribute> attributes) =>
        Node(op, name, [name], inputs, attributes)[0];

    public IReadOnlyList<string> Node(
        string op, string name, IReadOnlyList<string> outputs, IReadOnlyList<string> inputs,
        params IReadOnlyList<OnnxAttribute> attributes)
    {
        foreach (string output in outputs)
            if (!names.Add(output)) throw new ArgumentException($"two values of the graph are named '{output}'");
        nodes.Add(new OnnxNode(op, name, inputs, outputs, attributes));
        return outputs;
    }

    /// <summary>Adds a constant and gives its name; one that is there already stays.</summary>
    public string Constant(OnnxTensor tensor)
    {
        if (constants.TryAdd(tensor.Name, tensor) && !names.Add(tensor.Name))
            throw new ArgumentException($"two values of the graph are named '{tensor.Name}'");
        return tensor.Name;
    }

    /// <summary>Takes out the operators and constants that no output depends on.</summary>
    public void RemoveUnread()
    {
        HashSet<string> needed = [.. Outputs.Select(o => o.Name)];
        for (int i = nodes.Count - 1; i >= 0; i--)
        {
            if (nodes[i].Outputs.Any(needed.Contains)) needed.UnionWith(nodes[i].Inputs);
            else nodes.RemoveAt(i);
        }
        foreach (string name in constants.Keys.Where(n => !needed.Contains(n)).ToArray()) constants.Remove(name);
    }

    /// <summary>GraphProto: node 1, name 2, initializer 5, input 11, output 12.</summary>
    public ProtoMessage Encode()
    {
        var message = new ProtoMessage();
        foreach (OnnxNode node in nodes) message.Message(1, node.Encode());
        message.Text(2, name);
        foreach (OnnxTensor constant in constants.Values) message.Message(5, constant.Encode());
        foreach (OnnxValue input in Inputs) message.Message(11, input.Encode());
        foreach (OnnxValue output in Outputs) message.Message(12, output.Encode());
        return message;
    }
}
