using Espalier.Formats.Onnx;

namespace Espalier.Onnx;

/// <summary>A node's attributes, as its version of ONNX means them.</summary>
internal sealed class OnnxNodeView(OnnxSourceNode node, int opset)
{
    public string Operator => node.Operator;

    public OnnxSourceNode Source => node;

    public int Opset => opset;

    public bool Has(string name) => node.Attributes.ContainsKey(name);

    /// <exception cref="InvalidDataException">The attribute is of another kind; likewise of the following.</exception>
    public long Int(string name, long otherwise) => !Has(name) ? otherwise : node.Attributes[name].Int ?? throw Wrong(name);

    public float Float(string name, float otherwise) => !Has(name) ? otherwise : node.Attributes[name].Float ?? throw Wrong(name);

    public string Text(string name, string otherwise) => !Has(name) ? otherwise : node.Attributes[name].Text ?? throw Wrong(name);

    public long[]? Longs(string name) => !Has(name) ? null : [.. node.Attributes[name].Ints ?? throw Wrong(name)];

    public int[]? Ints(string name) => Longs(name) is not { } list ? null : Array.ConvertAll(list, n =>
        n is >= int.MinValue and <= int.MaxValue ? (int)n
            : throw new InvalidDataException($"its attribute '{name}' has the number {n}"));

    public float[]? Floats(string name) => !Has(name) ? null : [.. node.Attributes[name].Floats ?? throw Wrong(name)];

    public OnnxSourceTensor? Tensor(string name) => !Has(name) ? null : node.Attributes[name].Tensor ?? throw Wrong(name);

    private static InvalidDataException Wrong(string name) =>
        new($"its attribute {Formats.ReadGuard.Quote(name)} is of another kind");
}
