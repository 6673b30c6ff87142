using Espalier.Formats.Onnx;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models.Onnx;

/// <summary>The weights of a model by the names that checkpoints have for them, as constants of a graph.</summary>
internal sealed class OnnxWeights(OnnxGraph graph, Module model)
{
    private readonly Dictionary<string, Tensor> tensors = model.StateDict().ToDictionary(p => p.Name, p => p.Value);

    public Tensor this[string name] => tensors[name];

    public bool Has(string name) => tensors.ContainsKey(name);

    /// <summary>A constant of the weight's own name, shape and values.</summary>
    public string Constant(string name) => graph.Constant(OnnxTensor.Of(name, tensors[name]));
}
