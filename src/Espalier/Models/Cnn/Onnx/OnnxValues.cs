using Espalier.Formats.Onnx;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models.Onnx;

/// <summary>What the tensors of a recorded pass are called in a graph; weights are called as in checkpoints.</summary>
internal sealed class OnnxValues
{
    /// <summary>The graph's input and output.</summary>
    public const string Input = "images", Result = "logits";

    private const string WeightSuffix = ".weight";

    private readonly OnnxGraph graph;
    private readonly Tensor result;
    private readonly int images;
    private readonly Dictionary<Tensor, string> weights, computed = [];
    private readonly HashSet<string> taken = [Input, Result];
    private int constants;

    public OnnxValues(OnnxGraph graph, Module net, Tensor images, Tensor result)
    {
        (this.graph, this.result, this.images) = (graph, result, images.Shape[0]);
        weights = net.StateDict().ToDictionary(p => p.Value, p => p.Name);
        computed[images] = Input;
    }

    /// <summary>The name of what an operator gives; else that of a constant, which the graph then has.</summary>
    public string this[Tensor tensor] =>
        computed.TryGetValue(tensor, out string? name) ? name : graph.Constant(OnnxTensor.Of(WeightName(tensor), tensor));

    /// <summary>Whether it depends on the images.</summary>
    public bool IsComputed(Tensor tensor) => computed.ContainsKey(tensor);

    public void Set(Tensor tensor, string name) => computed[tensor] = name;

    /// <summary>The checkpoint's name; for what the pass has made itself, a number.</summary>
    /// <exception cref="EspalierException">The pass made it for each image of its batch.</exception>
    public string WeightName(Tensor tensor)
    {
        if (weights.TryGetValue(tensor, out string? name)) return name;
        if (tensor.Rank > 1 && tensor.Shape[0] == images)
            throw new EspalierException($"the network makes a constant {tensor.Shape} for a batch of {images} images, which does not "
                + "fit other batches; such a network cannot be written as ONNX");
        return weights[tensor] = $"constant.{constants++}";
    }

    /// <summary>
    /// A name for an op's result that no other has: that of the layer whose weight it reads; else what it does, with a number.
    /// </summary>
    public string NameOf(Op op)
    {
        if (op.Output == result) return Result;
        string? layer = op.Inputs.Skip(1).Select(x => weights.GetValueOrDefault(x))
            .FirstOrDefault(n => n is not null && n.EndsWith(WeightSuffix, StringComparison.Ordinal));
        string stem = layer is null ? op.Name : layer[..^WeightSuffix.Length];
        string name = stem;
        for (int i = 1; !taken.Add(name); i++) name = $"{stem}.{i}";
        return name;
    }
}
