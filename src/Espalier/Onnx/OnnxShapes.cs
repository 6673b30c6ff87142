using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>What moves values without computing: shapes, parts, lists of channels.</summary>
internal static class OnnxShapes
{
    /// <summary>
    /// The axes behind the first are the same for every number of images. Whether x is [rows, ..] or [N, T, ..] is the same to
    /// it. 0 stands for the size that x has there.
    /// </summary>
    public static string Reshape(OnnxCall call)
    {
        GraphValue x = call.Operand(0);
        long[] rest = [.. call.Node.Output.Shape.ToArray()[1..].Select(n => (long)n)];
        bool fromTokens = call.Writer.IsTokens(x);
        string from = call.Writer.Read(x, fromTokens);
        if (call.Tokens) return call.Result("Reshape", [fromTokens ? from : call[0], call.Ints([0, 0, .. rest])]);
        bool same = !fromTokens && x.Shape[0] == call.Node.Output.Shape[0];
        return call.Result("Reshape", [from, call.Ints([same ? 0 : -1, .. rest])]);
    }

    public static string Slice(OnnxCall call)
    {
        var op = (SliceOp)call.Node.Op;
        return call.Result("Slice", [call[0], call.Ints(op.Start), call.Ints(op.Start + op.Result[op.Axis]),
            call.Ints(call.Axis(op.Axis))]);
    }

    public static string Pad(OnnxCall call)
    {
        // The axis of images, and that of tokens, has none.
        long[] none = call.Tokens ? [0, 0] : [0];
        long[] before = [.. none, .. call.Settings.Ints("before")[1..].Select(n => (long)n)];
        long[] after = [.. none, .. call.Settings.Ints("after")[1..].Select(n => (long)n)];
        return call.Result("Pad", [call[0], call.Ints([.. before, .. after]), call.Float(call.Settings.Float("value"))]);
    }

    /// <summary>Operands x, index. A list of all channels in their order, as before pruning, leaves nothing to do.</summary>
    public static string Select(OnnxCall call)
    {
        if (IsWhole(List(call, 1), call.Shape(0)[1])) return call[0];
        string list = call.Constants.Of(
            call.Operand(1), "list", (name, index) => OnnxTensor.Of(name, [index.Length], Whole(index)));
        return call.Result("Gather", [call[0], list], OnnxAttribute.Int("axis", call.Axis(1)));
    }

    /// <summary>
    /// Operands x, shift, index, branch. The branch is spread over all channels first, those that it lacks being a channel of
    /// zeros behind it: a gather, since scattering into x needs a place for every pixel of every image.
    /// </summary>
    public static string AddTo(OnnxCall call)
    {
        int channels = call.Shape(0)[1];
        string added = IsWhole(List(call, 2), channels) ? call[3] : Spread(call, channels);
        if (call.Constants.Value(call.Operand(1)).Span.IndexOfAnyExcept(0f) < 0) return call.Result("Add", [call[0], added]);
        long[] shape = [channels, .. Enumerable.Repeat(1L, call.Shape(0).Rank - 2)];
        string shift = call.Constants.Of(call.Operand(1), "per channel", (name, s) => OnnxTensor.Of(name, shape, s.ToArray()));
        return call.Result("Add", [call.Part("sum", "Add", [call[0], added]), shift]);
    }

    private static string Spread(OnnxCall call, int channels)
    {
        long[] list = List(call, 2), places = [.. Enumerable.Repeat((long)list.Length, channels)];
        for (int k = 0; k < list.Length; k++) places[list[k]] = k;
        int rank = call.Shape(3).Rank + (call.Tokens ? 1 : 0);
        var pads = new long[2 * rank];
        pads[rank + call.Axis(1)] = 1;
        string zero = call.Part("zero", "Pad", [call[3], call.Ints(pads)]);
        string order = call.Constants.Of(call.Operand(2), "places", (name, _) => OnnxTensor.Of(name, [channels], places));
        return call.Part("spread", "Gather", [zero, order], OnnxAttribute.Int("axis", call.Axis(1)));
    }

    private static long[] List(OnnxCall call, int operand) => Whole(call.Constants.Value(call.Operand(operand)));

    private static long[] Whole(Tensor index) => [.. index.ToArray().Select(c => (long)c)];

    private static bool IsWhole(long[] list, int channels) =>
        list.Length == channels && !list.Where((channel, k) => channel != k).Any();
}
