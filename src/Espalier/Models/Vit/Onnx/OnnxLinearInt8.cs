using Espalier.Formats.Onnx;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Models.Onnx;

/// <summary>
/// In 8 bits: weights with one scale an output channel, symmetric, rounded beforehand; x with one scale and zero point for all
/// of it, found when the graph runs. Both are ONNX's own operators, which ONNX Runtime fuses into one.
/// </summary>
internal sealed class OnnxLinearInt8 : OnnxLinear
{
    private const int Largest = 127;

    private readonly Dictionary<string, IReadOnlyList<string>> quantised = [];

    public override string Add(OnnxGraph graph, OnnxWeights weights, string name, string x)
    {
        // Queries, keys and values read the same rows, which are rounded once.
        if (!quantised.TryGetValue(x, out IReadOnlyList<string>? rows))
            rows = quantised[x] = graph.Node("DynamicQuantizeLinear", x + ".quantize", [x + ".int8", x + ".scale", x + ".zero"], [x]);
        Tensor weight = weights[name + ".weight"];
        int outputs = weight.Shape[0], inputs = weight.Shape[1];
        float[] scales = Scales(weight);
        string values = graph.Constant(new OnnxTensor(name + ".weight", OnnxType.Int8, [inputs, outputs],
            stream => stream.Write(Transposed(weight, scales))));
        string sums = graph.Node("MatMulInteger", name + ".sums", [rows[0], values, rows[2]]);
        string real = graph.Node("Cast", name + ".float", [sums], OnnxAttribute.Int("to", (long)OnnxType.Float));
        string scale = graph.Node("Mul", name + ".scales", [rows[1], graph.Floats(name + ".weight.scales", [outputs], scales)]);
        string product = graph.Node("Mul", name + ".product", [real, scale]);
        return graph.Node("Add", name, [product, weights.Constant(name + ".bias")]);
    }

    /// <summary>[outputs]: the largest weight of each, by 127.</summary>
    private static float[] Scales(Tensor weight)
    {
        int inputs = weight.Shape[1];
        var scales = new float[weight.Shape[0]];
        for (int o = 0; o < scales.Length; o++)
            scales[o] = MathF.Abs(TensorPrimitives.MaxMagnitude<float>(weight.Span.Slice(o * inputs, inputs))) / Largest;
        return scales;
    }

    /// <summary>The rounded weights, [inputs, outputs].</summary>
    private static byte[] Transposed(Tensor weight, float[] scales)
    {
        int outputs = weight.Shape[0], inputs = weight.Shape[1];
        ReadOnlySpan<float> values = weight.Span;
        var result = new byte[values.Length];
        for (int o = 0; o < outputs; o++)
        {
            float inverse = scales[o] > 0 ? 1 / scales[o] : 0;
            for (int i = 0; i < inputs; i++)
                result[i * outputs + o] = (byte)(sbyte)MathF.Round(Math.Clamp(values[o * inputs + i] * inverse, -Largest, Largest));
        }
        return result;
    }
}
