using Espalier.Formats.Onnx;

namespace Espalier.Models.Onnx;

/// <summary>How the linear layers of a graph are written: y = x Wᵀ + b, x [rows, in] -> y [rows, out].</summary>
internal abstract class OnnxLinear
{
    /// <param name="name">Of the layer: its weights are <c>name.weight</c> [out, in] and <c>name.bias</c> [out].</param>
    /// <returns>The name of y, which is the layer's.</returns>
    public abstract string Add(OnnxGraph graph, OnnxWeights weights, string name, string x);
}

/// <summary>In single precision: one Gemm, with the weights as they are in the checkpoint.</summary>
internal sealed class OnnxLinearFp32 : OnnxLinear
{
    public override string Add(OnnxGraph graph, OnnxWeights weights, string name, string x) => graph.Node("Gemm", name,
        [x, weights.Constant(name + ".weight"), weights.Constant(name + ".bias")], OnnxAttribute.Int("transB", 1));
}
