using System.Runtime.InteropServices;
using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Models.Onnx;

/// <summary>How the linear layers of a graph are written: y = x Wᵀ + b, x [..., in] -> y [..., out].</summary>
internal abstract class OnnxLinear
{
    /// <param name="name">Of the layer: its weights are <c>name.weight</c> [out, in] and <c>name.bias</c> [out].</param>
    /// <returns>The name of y, which is the layer's.</returns>
    public abstract string Add(OnnxGraph graph, OnnxWeights weights, string name, string x);

    /// <summary>[rows, columns] -> [columns, rows], as MatMul reads weights.</summary>
    protected static T[] Transposed<T>(ReadOnlySpan<T> values, int rows, int columns)
    {
        var result = new T[values.Length];
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) result[c * rows + r] = values[r * columns + c];
        return result;
    }
}

/// <summary>In single precision.</summary>
internal sealed class OnnxLinearFp32 : OnnxLinear
{
    public override string Add(OnnxGraph graph, OnnxWeights weights, string name, string x)
    {
        Tensor weight = weights[name + ".weight"];
        int outputs = weight.Shape[0], inputs = weight.Shape[1];
        string values = graph.Constant(new OnnxTensor(name + ".weight", OnnxType.Float, [inputs, outputs],
            stream => stream.Write(MemoryMarshal.AsBytes<float>(Transposed<float>(weight.Span, outputs, inputs)))));
        string product = graph.Node("MatMul", name + ".product", [x, values]);
        return graph.Node("Add", name, [product, weights.Constant(name + ".bias")]);
    }
}
