using System.Runtime.InteropServices;
using Espalier.Formats.Onnx;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Models.Onnx;

/// <summary>
/// In 8 bits: weights with one scale an output channel, symmetric, rounded beforehand as for Espalier's own 8-bit layers; x
/// with one scale and zero point for all of it, found when the graph runs. ONNX Runtime fuses these operators into two.
/// </summary>
internal sealed class OnnxLinearInt8 : OnnxLinear
{
    private readonly Dictionary<string, IReadOnlyList<string>> quantised = [];

    public override string Add(OnnxGraph graph, OnnxWeights weights, string name, string x)
    {
        // Queries, keys and values read the same rows, which are rounded once.
        if (!quantised.TryGetValue(x, out IReadOnlyList<string>? rows))
            rows = quantised[x] = graph.Node("DynamicQuantizeLinear", x + ".quantize",
                [x + ".int8", x + ".scale", x + ".zero"], [x]);
        Tensor weight = weights[name + ".weight"];
        int outputs = weight.Shape[0], inputs = weight.Shape[1];
        string values = graph.Constant(new OnnxTensor(name + ".weight", OnnxType.Int8, [inputs, outputs],
            stream => stream.Write(Rounded(weight))));
        string sums = graph.Node("MatMulInteger", name + ".sums", [rows[0], values, rows[2]]);
        string real = graph.Node("Cast", name + ".float", [sums], OnnxAttribute.Int("to", (long)OnnxType.Float));
        string scale = graph.Node("Mul", name + ".scales",
            [rows[1], graph.Floats(name + ".weight.scales", [outputs], Scales(weight))]);
        string product = graph.Node("Mul", name + ".product", [real, scale]);
        return graph.Node("Add", name, [product, weights.Constant(name + ".bias")]);
    }

    /// <summary>[outputs].</summary>
    private static unsafe float[] Scales(Tensor weight)
    {
        int inputs = weight.Shape[1];
        var scales = new float[weight.Shape[0]];
        for (int o = 0; o < scales.Length; o++) scales[o] = Int8Rows.Scale(weight.Data + (nint)o * inputs, inputs);
        return scales;
    }

    /// <summary>[inputs, outputs]; made when they are written, so that one layer's are held at a time.</summary>
    private static unsafe byte[] Rounded(Tensor weight)
    {
        int outputs = weight.Shape[0], inputs = weight.Shape[1];
        sbyte[] values = Int8Weights.Quantise(outputs, inputs, weight.Data).Values;
        return Transposed<byte>(MemoryMarshal.AsBytes<sbyte>(values), outputs, inputs);
    }
}
