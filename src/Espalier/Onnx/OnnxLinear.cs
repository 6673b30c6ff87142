using System.Runtime.InteropServices;
using Espalier.Formats.Onnx;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Onnx;

/// <summary>Products with weights, y = x Wᵀ + b, and of two activations.</summary>
internal static class OnnxLinear
{
    /// <summary>With the GELU and the sum that may belong to it.</summary>
    public static string Write(OnnxCall call)
    {
        bool gelu = call.Settings.Bool("gelu"), residual = call.Has(3);
        string y = Product(call, gelu || residual ? call.Constants.Free(call.Name + ".linear") : call.Name);
        if (gelu) y = OnnxElements.Gelu(call, residual ? call.Constants.Free(call.Name + ".gelu") : call.Name, y);
        return residual ? call.Result("Add", [y, call[3]]) : y;
    }

    /// <summary>Operands a, b, each turned where the settings say so.</summary>
    public static string MatMul(OnnxCall call) => call.Result("MatMul",
        [Turned(call, 0, call.Settings.Bool("transposeA")), Turned(call, 1, call.Settings.Bool("transposeB"))]);

    private static string Turned(OnnxCall call, int operand, bool turn)
    {
        if (!turn) return call[operand];
        GraphValue x = call.Operand(operand);
        if (!call.Writer.IsComputed(x) && x.Shape.Rank == 2) return call.Constants.Transposed(x);
        int rank = x.Shape.Rank + (call.Tokens && call.Writer.IsComputed(x) ? 1 : 0);
        long[] axes = [.. Enumerable.Range(0, rank - 2), rank - 1, rank - 2];
        return call.Part($"turned{operand}", "Transpose", [call[operand]], OnnxAttribute.Ints("perm", axes));
    }

    private static string Product(OnnxCall call, string name)
    {
        OnnxGraph file = call.Writer.File;
        if (call.Operand(0).Producer is { Op: PatchesToRowsOp } patches && call.Tokens) return Patches(call, name, patches);
        if (!call.Tokens && call.Shape(0).Rank == 2)
            return file.Node("Gemm", name, [call[0], call[1], .. OnnxQuantised.Bias(call) is { } codes ? [codes] : Bias(call)],
                OnnxAttribute.Int("transB", 1));
        IReadOnlyList<string> bias = Bias(call);
        string product = bias.Count > 0 ? call.Constants.Free(name + ".product") : name;
        if (call.Writer.IsInt8(call.Node)) Int8(call, name, product);
        else file.Node("MatMul", product, [call[0], call.Constants.Transposed(call.Operand(1))]);
        return bias.Count > 0 ? file.Node("Add", name, [product, bias[0]]) : product;
    }

    private static IReadOnlyList<string> Bias(OnnxCall call) => call.Has(2) ? [call[2]] : [];

    /// <summary>
    /// A linear map of patches is a convolution whose stride is its kernel: [N, C, H, W] -> [N, D, rows, columns] -> [N, T, D].
    /// Its weight is mostly a checkpoint's [D, C, p, p], flattened.
    /// </summary>
    private static string Patches(OnnxCall call, string name, GraphNode patches)
    {
        OnnxGraph file = call.Writer.File;
        int size = patches.Op.Settings.Int("patch"), width = call.Shape(1)[0];
        Shape whole = new(width, patches.Operands[0]!.Shape[1], size, size);
        GraphValue weight = call.Operand(1);
        if (weight.Producer is { Op: ReshapeOp } flatten && flatten.Operands[0]!.Shape == whole) weight = flatten.Operands[0]!;
        string kernel = weight.Shape == whole ? call.Constants.Of(weight) : call.Constants.Of(weight, "kernel", (n, w) =>
            OnnxTensor.Of(n, w) with { Shape = [.. whole.ToArray().Select(d => (long)d)] });
        string map = file.Node("Conv", call.Constants.Free(name + ".conv"),
            [call.Writer.Read(patches.Operands[0]!, asTokens: false), kernel, .. Bias(call)],
            OnnxAttribute.Ints("kernel_shape", size, size), OnnxAttribute.Ints("strides", size, size));
        string flat = call.Part("flat", "Reshape", [map, call.Ints(0, width, -1)]);
        return file.Node("Transpose", name, [flat], OnnxAttribute.Ints("perm", 0, 2, 1));
    }

    /// <summary>
    /// In 8 bits: weights with one scale an output channel, symmetric, rounded beforehand as for Espalier's own 8-bit layers; x
    /// with one scale and zero point for all of it, found when the graph runs. ONNX Runtime fuses these operators into two.
    /// </summary>
    private static void Int8(OnnxCall call, string name, string product)
    {
        OnnxGraph file = call.Writer.File;
        GraphValue weight = call.Operand(1);
        int outputs = weight.Shape[0], inputs = weight.Shape[1];
        IReadOnlyList<string> rows = call.Writer.Quantised(call[0]);
        string values = call.Constants.Of(weight, "int8", (n, w) =>
            new OnnxTensor(n, OnnxType.Int8, [inputs, outputs], stream => stream.Write(Rounded(w))));
        string scales = call.Constants.Of(weight, "scales", (n, w) => OnnxTensor.Of(n, [outputs], Scales(w)));
        string sums = file.Node("MatMulInteger", call.Constants.Free(name + ".sums"), [rows[0], values, rows[2]]);
        string real = file.Node(
            "Cast", call.Constants.Free(name + ".float"), [sums], OnnxAttribute.Int("to", (long)OnnxType.Float));
        string scale = file.Node("Mul", call.Constants.Free(name + ".scales"), [rows[1], scales]);
        file.Node("Mul", product, [real, scale]);
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
        return OnnxConstants.Transposed<byte>(MemoryMarshal.AsBytes<sbyte>(values), outputs, inputs);
    }
}
