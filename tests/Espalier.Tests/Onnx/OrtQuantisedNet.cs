using System.Runtime.InteropServices;
using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Tests.Onnx;

/// <summary>
/// A small residual network as ONNX Runtime's quantize_static leaves it by default, in its names: int8 values with zero points,
/// int8 weights with one scale, biases as int32 of the sums' scale, and DequantizeLinear behind all of them. Ranges are those of
/// normal values.
/// </summary>
internal sealed class OrtQuantisedNet
{
    private readonly OnnxGraph file = new("net", 13);
    private readonly Dictionary<string, float> scales = [];
    private Rng rng = new(5);

    /// <param name="classes">Of images [N, 3, 12, 12].</param>
    public static void Write(string path, int classes)
    {
        var net = new OrtQuantisedNet();
        OnnxGraph file = net.file;
        file.Inputs.Add(new OnnxValue("input", OnnxType.Float, ["N", "3", "12", "12"]));
        string x = net.Conv("conv1", net.Rounded("input", -4, 4), 16, 3);
        string first = net.Rounded(file.Node("Relu", "relu1", [x]), 0, 5);
        string second = net.Rounded(file.Node("Relu", "relu2", [net.Conv("conv2", first, 16, 16)]), 0, 8);
        string third = net.Rounded(net.Conv("conv3", second, 16, 16), -14, 12);
        string sum = net.Rounded(file.Node("Relu", "relu3", [file.Node("Add", "add", [third, first])]), 0, 15);
        string mean = net.Rounded(file.Node("GlobalAveragePool", "mean", [sum]), 0, 8);
        string flat = net.Rounded(file.Node("Flatten", "flat", [mean], OnnxAttribute.Int("axis", 1)), 0, 8);
        string logits = file.Node("Gemm", "fc", net.Parameters("fc", flat, classes, 16), OnnxAttribute.Int("transB", 1));
        net.Rounded(logits, -2, 2, "logits");
        file.Outputs.Add(new OnnxValue("logits", OnnxType.Float, ["N", $"{classes}"]));
        new OnnxModel(file, []).Write(path);
    }

    private string Conv(string name, string x, int outputs, int channels) => file.Node("Conv", name,
        Parameters(name, x, outputs, channels, 3, 3), OnnxAttribute.Ints("kernel_shape", 3, 3), OnnxAttribute.Ints("pads", 1, 1,
            1, 1));

    private string Rounded(string value, float low, float high, string? name = null)
    {
        float scale = (high - low) / 255;
        string s = file.Constant(OnnxTensor.Of(value + "_scale", [], [scale]));
        string z = Whole(value + "_zero_point", OnnxType.Int8, [], [(sbyte)Math.Round(-128 - low / scale)]);
        string codes = file.Node("QuantizeLinear", value + "_QuantizeLinear_Output", [value, s, z]);
        name = file.Node("DequantizeLinear", name ?? value + "_DequantizeLinear_Output", [codes, s, z]);
        scales[name] = scale;
        return name;
    }

    /// <summary>What the layer reads, with its weight and bias.</summary>
    private string[] Parameters(string name, string x, params int[] shape)
    {
        float scale = 1f / 127 / MathF.Sqrt(shape.Skip(1).Aggregate(1, (a, b) => a * b)) * 2;
        string s = file.Constant(OnnxTensor.Of(name + ".weight_scale", [], [scale]));
        string z = Whole(name + ".weight_zero_point", OnnxType.Int8, [], [(sbyte)0]);
        string codes = Whole(name + ".weight_quantized", OnnxType.Int8, [.. shape.Select(n => (long)n)],
            [.. Draw(shape.Aggregate(1, (a, b) => a * b), 127).Select(v => (sbyte)v)]);
        string weight = file.Node("DequantizeLinear", name + ".weight_DequantizeLinear_Output", [codes, s, z]);
        string both = file.Constant(OnnxTensor.Of(name + ".bias_quantized_scale", [1], [scale * scales[x]]));
        string nothing = Whole(name + ".bias_quantized_zero_point", OnnxType.Int32, [1], [0]);
        string sums = Whole(name + ".bias_quantized", OnnxType.Int32, [shape[0]], Draw(shape[0], 3000));
        return [x, weight, file.Node("DequantizeLinear", name + ".bias_DequantizeLinear_Output", [sums, both, nothing],
            OnnxAttribute.Int("axis", 0))];
    }

    private int[] Draw(int count, int most)
    {
        var values = new int[count];
        for (int i = 0; i < count; i++) values[i] = (int)Math.Clamp(most * 0.4f * rng.NextNormal(), -most, most);
        return values;
    }

    private string Whole<T>(string name, OnnxType type, long[] shape, T[] values) where T : unmanaged =>
        file.Constant(new OnnxTensor(name, type, shape, stream => stream.Write(MemoryMarshal.AsBytes<T>(values))));
}
