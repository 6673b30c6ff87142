using System.Runtime.InteropServices;
using Espalier.Files;
using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Values and weights of few bits in the form that runtimes fuse: QuantizeLinear and DequantizeLinear behind a value, whole
/// numbers with DequantizeLinear for a weight, and the bias of a layer whose operands both are such as int32 in the scale of its
/// sums.
/// </summary>
internal static class OnnxQuantised
{
    /// <summary>A value, rounded to codes and back.</summary>
    public static string Write(OnnxCall call)
    {
        var op = (QuantiseOp)call.Node.Op;
        GraphValue scale = call.Operand(1);
        if (TypeOf(op) is not { } type || call.Writer.IsComputed(scale) || (call.Has(2)
            && call.Writer.IsComputed(call.Operand(2))))
            throw new EspalierException(
                $"'{call.Node.Name}' is of codes from {op.Low} to {op.High}, and files have those of 8 bits, "
                + "with scales that are known; quantise to 8 bits for ONNX");
        OnnxAttribute[] axis = Axis(call, op);
        string x = Cut(call, op, type), s = Scales(call.Constants, call.Node), z = Zeros(call.Constants, call.Node, type);
        string codes = call.Part("codes", "QuantizeLinear", [x, s, z], axis);
        return call.Result("DequantizeLinear", [codes, s, z], axis);
    }

    /// <summary>Numbers from 0 to 255 steps, rounded to whole steps.</summary>
    public static string Steps(OnnxCall call, string name, string x, float step)
    {
        var nothing = new OnnxTensor(call.Constants.Free("zero.steps"), OnnxType.UInt8, [], s => s.WriteByte(0));
        string zero = call.Writer.File.Constant(nothing);
        string[] range = [call.Float(step), zero];
        return call.Part(name, "DequantizeLinear", [call.Part($"{name}.codes", "QuantizeLinear", [x, .. range]), .. range]);
    }

    /// <summary>A weight as codes with DequantizeLinear; null where the value is no such weight.</summary>
    /// <param name="transposed">Whether [out, in] is wanted as [in, out].</param>
    public static string? Weight(OnnxConstants constants, OnnxGraph file, GraphValue value, string name, bool transposed)
    {
        if (value.Producer is not { Op: QuantiseOp op } node || TypeOf(op) is not { } type) return null;
        GraphValue weight = node.Operands[0]!;
        if (transposed && weight.Shape.Rank != 2) return null;
        int[] shape = weight.Shape.ToArray();
        var stored = new StoredCodes(shape, op.Low, op.High, "scale", "zero", op.Axis);
        Tensor scale = constants.Value(node.Operands[1]!);
        Tensor? zero = node.Operands.ElementAtOrDefault(2) is { } z ? constants.Value(z) : null;
        long[] dims = [.. (transposed ? shape.Reverse() : shape).Select(n => (long)n)];
        string codes = file.Constant(new OnnxTensor(constants.Free(weight.Name + ".codes"), type, dims, stream =>
        {
            byte[] bytes = [.. stored.Codes(constants.Value(weight), scale, zero).Select(c => (byte)c)];
            stream.Write(transposed ? OnnxConstants.Transposed<byte>(bytes, shape[0], shape[1]) : bytes);
        }));
        OnnxAttribute[] axis = op.Axis < 0 ? [] : [OnnxAttribute.Int("axis", transposed ? 1 - op.Axis : op.Axis)];
        return file.Node("DequantizeLinear", name, [codes, Scales(constants, node), Zeros(constants, node, type)], axis);
    }

    /// <summary>The bias of a convolution or linear layer as int32; null where it is a plain one.</summary>
    public static string? Bias(OnnxCall call)
    {
        if (call.Node.Op is not (Conv2dOp or LinearOp) || !call.Has(2) || call.Writer.IsComputed(call.Operand(2))) return null;
        if (call.Operand(0).Producer is not { Op: QuantiseOp { Axis: -1 } x } input || TypeOf(x) is null) return null;
        if (call.Operand(1).Producer is not { Op: QuantiseOp { Axis: <= 0 } w } weight || TypeOf(w) is null) return null;
        GraphValue sx = input.Operands[1]!, sw = weight.Operands[1]!, bias = call.Operand(2);
        if (call.Writer.IsComputed(sx) || call.Writer.IsComputed(sw) || call.Writer.IsComputed(call.Operand(1))) return null;
        float[] scales = BiasScales(call.Constants.Value(sx), call.Constants.Value(sw), (int)bias.Shape.Length);
        float[] values = call.Constants.Value(bias).ToArray();
        var codes = new int[values.Length];
        for (int i = 0; i < codes.Length; i++)
        {
            double code = Math.Round((double)values[i] / scales[i]);
            // The sums would not hold it.
            if (Math.Abs(code) > int.MaxValue / 2) return null;
            codes[i] = (int)code;
        }
        OnnxGraph file = call.Writer.File;
        string name = call.Constants.Free(bias.Name + ".codes");
        file.Constant(new OnnxTensor(name, OnnxType.Int32, [codes.Length], s => s.Write(MemoryMarshal.AsBytes<int>(codes))));
        string scale = call.Constants.Floats(bias.Name + ".scale", [scales.Length], scales);
        return call.Part("bias", "DequantizeLinear", [name, scale], OnnxAttribute.Int("axis", 0));
    }

    /// <summary>[outputs]: what a unit of the sums of products stands for.</summary>
    public static float[] BiasScales(Tensor input, Tensor weight, int outputs) =>
        [.. Enumerable.Range(0, outputs).Select(o => input.Span[0] * weight.Span[weight.Length == 1 ? 0 : o])];

    /// <summary>Where codes are fewer than the type's, values past them are cut first.</summary>
    private static string Cut(OnnxCall call, QuantiseOp op, OnnxType type)
    {
        var (low, high) = type == OnnxType.UInt8 ? (0, 255) : (-128, 127);
        if ((low, high) == (op.Low, op.High)) return call[0];
        if (op.Axis >= 0)
            throw new EspalierException(
                $"'{call.Node.Name}' has codes from {op.Low} to {op.High} for each channel, which ONNX has not");
        float s = call.Constants.Value(call.Operand(1)).Span[0], z = call.Has(2)
            ? call.Constants.Value(call.Operand(2)).Span[0] : 0;
        return call.Part("cut", "Clip", [call[0], call.Float((op.Low - z) * s), call.Float((op.High - z) * s)]);
    }

    private static OnnxType? TypeOf(QuantiseOp op) => op is { Low: >= 0, High: <= 255 } ? OnnxType.UInt8
        : op is { Low: >= -128, High: <= 127 } ? OnnxType.Int8 : null;

    private static OnnxAttribute[] Axis(OnnxCall call, QuantiseOp op) =>
        op.Axis < 0 ? [] : [OnnxAttribute.Int("axis", call.Axis(op.Axis))];

    private static string Scales(OnnxConstants constants, GraphNode node) => constants.Of(node.Operands[1]!, "scale", (name, s) =>
        OnnxTensor.Of(name, Dims((QuantiseOp)node.Op, s), s.ToArray()));

    private static string Zeros(OnnxConstants constants, GraphNode node, OnnxType type)
    {
        var op = (QuantiseOp)node.Op;
        if (node.Operands.ElementAtOrDefault(2) is { } zero) return constants.Of(zero, $"zero.{type}", (name, z) => Bytes(name,
            type, Dims(op, z), z.ToArray()));
        GraphValue scale = node.Operands[1]!;
        return constants.Of(scale, $"zero.{type}", (name, s) => Bytes(name, type, Dims(op, s), new float[s.Length]));
    }

    private static OnnxTensor Bytes(string name, OnnxType type, long[] dims, float[] values) =>
        new(name, type, dims, stream => stream.Write([.. values.Select(v => (byte)(int)v)]));

    private static long[] Dims(QuantiseOp op, Tensor list) => op.Axis < 0 ? [] : [list.Length];
}
