using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Which ops stand for which operators. Those that <see cref="OnnxTable"/> writes as one operator without attributes are read by
/// that table, functions of numbers by <see cref="OnnxFunctions"/>; the others are here.
/// </summary>
internal static class OnnxReaders
{
    private static readonly Dictionary<string, Func<OnnxReadCall, IReadOnlyList<OnnxOperand>>> Known = new(StringComparer.Ordinal)
    {
        ["Add"] = One(c => OnnxReadElements.Binary(c, "Add")),
        ["ArgMax"] = One(c => OnnxReadReductions.Arg(c, c[0])),
        ["ArgMin"] = One(c => OnnxReadReductions.Arg(c, c.Make("Neg", c[0]))),
        ["Attention"] = One(OnnxReadAttention.Read),
        ["AveragePool"] = One(OnnxReadPools.Average),
        ["BatchNormalization"] = One(OnnxReadNorms.Batch),
        ["Cast"] = One(c => OnnxReadElements.Cast(c, (OnnxType)c.Node.Int("to", 1))),
        ["CastLike"] = One(c => OnnxReadElements.Cast(c, c[1].Type)),
        ["Clip"] = One(OnnxReadElements.Clip),
        ["Concat"] = One(OnnxReadShapes.Concat),
        ["Conv"] = One(OnnxReadConv.Read),
        ["ConvInteger"] = One(OnnxReadQuantised.Conv),
        ["ConvTranspose"] = One(OnnxReadTransposed.Read),
        ["CumSum"] = One(OnnxReadMoves.CumSum),
        ["DepthToSpace"] = One(OnnxReadShapes.DepthToSpace),
        ["DequantizeLinear"] = One(OnnxReadQuantised.Dequantise),
        ["Div"] = One(c => OnnxReadElements.Binary(c, "Div")),
        ["Dropout"] = OnnxReadElements.Dropout,
        ["DynamicQuantizeLinear"] = OnnxReadQuantised.Dynamic,
        ["Einsum"] = One(OnnxReadEinsum.Read),
        ["Expand"] = One(OnnxReadShapes.Expand),
        ["Flatten"] = One(c => OnnxReadShapes.Reshaped(c, dims => OnnxMoves.Flattened(c.Node, dims))),
        ["Gather"] = One(OnnxReadMoves.Gather),
        ["GatherElements"] = One(OnnxReadMoves.GatherElements),
        ["GatherND"] = One(OnnxReadMoves.GatherNd),
        ["Gelu"] = One(c => c.Node.Text("approximate", "none") == "tanh" ? c.Emit.Element(ElementFunction.GeluTanh, c[0])
            : c.Make("Gelu", c[0])),
        ["Gemm"] = One(OnnxReadProducts.Gemm),
        ["GlobalAveragePool"] = One(OnnxReadPools.GlobalAverage),
        ["GlobalMaxPool"] =
            One(c => c.Emit.Reduce("Max", c[0], [.. Enumerable.Range(2, Math.Max(0, c[0].Rank - 2))], keep: true)),
        ["GroupNormalization"] = One(OnnxReadNorms.Group),
        ["Identity"] = One(c => c[0]),
        ["GridSample"] = One(OnnxReadGrid.Sample),
        ["InstanceNormalization"] = One(OnnxReadNorms.Instance),
        ["LRN"] = One(OnnxReadNorms.LocalResponse),
        ["LayerNormalization"] = OnnxReadNorms.Layer,
        ["LogSoftmax"] = One(c => OnnxReadElements.Softmax(c, "LogSoftmax")),
        ["LpNormalization"] = One(OnnxReadNorms.Lp),
        ["MatMul"] = One(c => OnnxReadProducts.MatMul(c, c[0], c[1])),
        ["MatMulInteger"] = One(OnnxReadQuantised.MatMul),
        ["MaxPool"] = One(OnnxReadPools.Max),
        ["Mean"] = One(c => c.Emit.Affine(OnnxReadElements.Sum(c), 1.0 / c.Count, 0)),
        ["Mul"] = One(c => OnnxReadElements.Binary(c, "Mul")),
        ["PRelu"] = One(OnnxReadElements.PRelu),
        ["Pad"] = One(OnnxReadMoves.Pad),
        ["Pow"] = One(OnnxReadElements.Pow),
        ["QLinearConv"] = One(OnnxReadQuantised.LinearConv),
        ["QLinearMatMul"] = One(OnnxReadQuantised.LinearMatMul),
        ["QuantizeLinear"] = One(OnnxReadQuantised.Quantise),
        ["RMSNormalization"] = One(OnnxReadNorms.Rms),
        ["ReduceL1"] = One(c => OnnxReadReductions.Read(c, "Sum", "Abs")),
        ["ReduceL2"] = One(c => c.Make("Sqrt", OnnxReadReductions.Read(c, "Sum", "Square"))),
        ["ReduceLogSum"] = One(c => c.Make("Log", OnnxReadReductions.Read(c, "Sum"))),
        ["ReduceLogSumExp"] = One(OnnxReadReductions.LogSumExp),
        ["ReduceMax"] = One(c => OnnxReadReductions.Read(c, "Max")),
        ["ReduceMean"] = One(c => OnnxReadReductions.Read(c, "Mean")),
        ["ReduceMin"] = One(c => c.Make("Neg", OnnxReadReductions.Read(c, "Max", "Neg"))),
        ["ReduceProd"] = One(OnnxReadReductions.Product),
        ["ReduceSum"] = One(c => OnnxReadReductions.Read(c, "Sum")),
        ["ReduceSumSquare"] = One(c => OnnxReadReductions.Read(c, "Sum", "Square")),
        ["Reshape"] = One(OnnxReadShapes.Reshape),
        ["Resize"] = One(OnnxReadResize.Read),
        ["RotaryEmbedding"] = One(OnnxReadRotary.Read),
        ["ScatterND"] = One(OnnxReadMoves.Scatter),
        ["Slice"] = One(OnnxReadMoves.Slice),
        ["Softmax"] = One(c => OnnxReadElements.Softmax(c, "Softmax")),
        ["SpaceToDepth"] = One(OnnxReadShapes.SpaceToDepth),
        ["Split"] = OnnxReadMoves.Split,
        ["Squeeze"] = One(c => OnnxReadShapes.Reshaped(c, dims => OnnxMoves.Squeezed(c.Node, dims, c.Fixed(1)))),
        ["Sub"] = One(c => OnnxReadElements.Binary(c, "Sub")),
        ["Sum"] = One(OnnxReadElements.Sum),
        ["Tile"] = One(c => OnnxReadMoves.Take(c, c[0], OnnxMoves.Tile(c[0].Dims, c.Given(1).Ints()),
            OnnxMoves.Tile(c[0].DimsOfThree, c.Given(1).Ints()))),
        ["TopK"] = OnnxReadReductions.Top,
        ["Transpose"] = One(c => c.Emit.Permute(c[0], OnnxMoves.Order(c.Node, c[0].Rank))),
        ["Trilu"] = One(OnnxReadMoves.Trilu),
        ["Unsqueeze"] = One(c => OnnxReadShapes.Reshaped(c, dims => OnnxMoves.Unsqueezed(c.Node, dims, c.Fixed(1)))),
        ["Upsample"] = One(OnnxReadResize.Read),
        ["Where"] = One(c => OnnxReadCall.Typed(c.Make("Where", c[0], c[1], c[2]), c[1].Type)),
    };

    /// <exception cref="InvalidDataException">The operator is not read, or not as it stands there.</exception>
    public static IReadOnlyList<OnnxOperand> Read(OnnxReadCall call)
    {
        if (call.Node.Source.Domain.Length > 0) return OnnxReadMicrosoft.Read(call);
        string name = call.Node.Operator;
        if (call.Node.Opset < 7 && call.Node.Has("broadcast") && call.Node.Has("axis")
            && name is not ("Add" or "Sub" or "Mul" or "Div"))
            throw new InvalidDataException("lays its operands beside one another as before opset 7");
        if (Known.TryGetValue(name, out Func<OnnxReadCall, IReadOnlyList<OnnxOperand>>? read)) return read(call);
        if (OnnxTable.OfOperator(name) is { } op && call.Count == 1) return [call.Make(op, call[0])];
        if (OnnxFunctions.Element(name) is { } f)
        {
            float a = f.A is null ? 0 : call.Node.Float(f.A, f.DefaultA), b = f.B is null ? 0 : call.Node.Float(f.B, f.DefaultB);
            return [call.Emit.Element(f.Function, call[0], a, b)];
        }
        if (OnnxFunctions.Pair(name) is { } pair) return [OnnxReadElements.Pair(call, pair)];
        throw new InvalidDataException("is not read");
    }

    private static Func<OnnxReadCall, IReadOnlyList<OnnxOperand>> One(Func<OnnxReadCall, OnnxOperand> read) =>
        call => [read(call)];
}
