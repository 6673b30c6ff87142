using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Functions of single elements, and norms, that take more than one operator.</summary>
internal static class OnnxElements
{
    private const int GeluOpset = 20;

    public static string Affine(OnnxCall call)
    {
        float scale = call.Settings.Float("scale"), shift = call.Settings.Float("shift");
        if (shift == 0) return call.Result("Mul", [call[0], call.Float(scale)]);
        string scaled = scale == 1 ? call[0] : call.Part("scaled", "Mul", [call[0], call.Float(scale)]);
        return call.Result("Add", [scaled, call.Float(shift)]);
    }

    public static string Clip(OnnxCall call) =>
        call.Result("Clip", [call[0], call.Float(call.Settings.Float("low")), call.Float(call.Settings.Float("high"))]);

    public static string Pow(OnnxCall call) => call.Result("Pow", [call[0], call.Float(call.Settings.Float("exponent"))]);

    public static string Silu(OnnxCall call) => call.Result("Mul", [call[0], call.Part("sigmoid", "Sigmoid", [call[0]])]);

    public static string Gelu(OnnxCall call) => Gelu(call, call.Name, call[0]);

    /// <summary>x/2 (1 + erf(x / sqrt 2)), spelled out where there is no operator, as runtimes know it and fuse it.</summary>
    public static string Gelu(OnnxCall call, string name, string x)
    {
        if (call.Opset >= GeluOpset) return call.Writer.File.Node("Gelu", name, [x]);
        string erf = call.Part("erf", "Erf", [call.Part("div", "Div", [x, call.Float(MathF.Sqrt(2))])]);
        string sum = call.Part("sum", "Add", [erf, call.Float(1)]);
        return call.Writer.File.Node("Mul", name, [call.Part("product", "Mul", [x, sum]), call.Float(0.5f)]);
    }

    /// <summary>Whether a layer norm has lost channels, and has the statistics of the width that it was trained with.</summary>
    public static bool IsCut(GraphNode node) => node.Op is LayerNormOp norm && norm.TrainedWidth > node.Output.Shape[-1];

    /// <summary>With zeros in the place of the channels that are gone, which is what they are to the statistics.</summary>
    public static string CutLayerNorm(OnnxCall call)
    {
        var op = (LayerNormOp)call.Node.Op;
        int width = call.Shape(0)[-1], lost = op.TrainedWidth - width, rank = call.Shape(0).Rank + (call.Tokens ? 1 : 0);
        var pads = new long[2 * rank];
        pads[^1] = lost;
        string whole = call.Part("whole", "Pad", [call[0], call.Ints(pads)]);
        string norm = call.Part("norm", "LayerNormalization", [whole, Padded(1), Padded(2)],
            OnnxAttribute.Int("axis", -1), OnnxAttribute.Float("epsilon", op.Epsilon));
        return call.Result("Slice", [norm, call.Ints(0), call.Ints(width), call.Ints(-1)]);

        string Padded(int operand) => call.Constants.Of(call.Operand(operand), "whole", (name, values) =>
            OnnxTensor.Of(name, [op.TrainedWidth], [.. values.Span, .. new float[lost]]));
    }

    /// <summary>
    /// An instance norm over [N, groups, values of a group], since opset 17 has no operator for it. x [N, C, H, W].
    /// </summary>
    public static string GroupNorm(OnnxCall call)
    {
        int groups = ((GroupNormOp)call.Node.Op).Groups;
        Shape shape = call.Shape(0);
        string grouped = call.Part("groups", "Reshape", [call[0], call.Ints(0, groups, -1)]);
        string even = call.Part("even", "InstanceNormalization",
            [grouped, call.Constants.Filled(groups, 1), call.Constants.Filled(groups, 0)],
            OnnxAttribute.Float("epsilon", call.Settings.Float("epsilon")));
        string back = call.Part("back", "Reshape", [even, call.Ints(0, shape[1], shape[2], shape[3])]);
        return call.Result("Add", [call.Part("scaled", "Mul", [back, PerChannel(call, 1)]), PerChannel(call, 2)]);
    }

    /// <summary>Of what a network computes; that of weights is done beforehand. x [N, ..], each image by itself.</summary>
    public static string WeightStandardise(OnnxCall call)
    {
        var variant = call.Settings.Word<WeightStandardisation>("variant");
        float epsilon = variant == WeightStandardisation.Timm ? 1e-8f : 1e-5f;
        long[] axes = [.. Enumerable.Range(1, call.Shape(0).Rank - 1).Select(axis => (long)axis)];
        string centred = call.Part("centred", "Sub", [call[0], OnnxReductions.Mean(call, "mean", call[0], axes)]);
        string variance = OnnxReductions.Mean(call, "variance", call.Part("squares", "Mul", [centred, centred]), axes);
        string deviation = variant == WeightStandardisation.Google
            ? call.Part("deviation", "Add", [call.Part("root", "Sqrt", [variance]), call.Float(epsilon)])
            : call.Part("deviation", "Sqrt", [call.Part("shifted", "Add", [variance, call.Float(epsilon)])]);
        return call.Result("Div", [centred, deviation]);
    }

    private static string PerChannel(OnnxCall call, int operand) => call.Constants.Of(call.Operand(operand), "per channel",
        (name, values) => OnnxTensor.Of(name, [values.Length, 1, 1], values.ToArray()));
}
