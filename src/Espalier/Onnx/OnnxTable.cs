using Espalier.Tensors;
using static Espalier.Onnx.OnnxForm;

namespace Espalier.Onnx;

/// <summary>An op and what stands for it in a file.</summary>
/// <param name="Operator">The one operator that reads the same operands in the same order; null where it takes more than
/// that.</param>
/// <param name="Settings">Its attributes, each with the op's setting that it stands for.</param>
/// <param name="AsTokens">Whether a node is written on token rows [N, T, ..]; else on what the graph has.</param>
/// <param name="Write">Adds the operators and gives the name of the result, mostly <see cref="OnnxCall.Name"/>.</param>
internal sealed record OnnxEntry(
    string? Operator, IReadOnlyList<OnnxSetting> Settings, Func<OnnxWriter, GraphNode, bool> AsTokens,
    Func<OnnxCall, string> Write)
{
    /// <summary>The same, but nodes of a kind are written in another way.</summary>
    public OnnxEntry But(Func<GraphNode, bool> which, Func<OnnxCall, string> write) =>
        this with { Write = call => which(call.Node) ? write(call) : Write(call) };
}

/// <summary>
/// Which operators of ONNX stand for which ops. Most are one operator each, said by its name and its attributes, so that the
/// line holds for reading too; the others are put together from several.
/// </summary>
internal static class OnnxTable
{
    private static readonly Dictionary<string, OnnxEntry> Entries = new(StringComparer.Ordinal)
    {
        ["Abs"] = One("Abs", OnRows),
        ["Add"] = One("Add", OnRows),
        ["Affine"] = Several(OnnxElements.Affine, OnRows),
        ["AssembleTokens"] = Several(OnnxTokens.Assemble, OnRows),
        ["Attention"] = Several(OnnxAttention.Write, (_, node) => node.Output.Shape.Rank == 2),
        ["AvgPool2d"] = One("AveragePool", OnMaps, new(Twice, "kernel_shape", "kernel"), new(Twice, "strides", "stride"),
            new(Pads, "pads", "padding"), new(Flag, "count_include_pad", "countIncludePad")),
        ["BatchNorm2d"] = One("BatchNormalization", OnMaps, new OnnxSetting(Float, "epsilon", "epsilon")),
        ["Clamp"] = Several(OnnxElements.Clip, OnRows),
        ["ClassAttention"] = Several(OnnxAttention.OfClass, (_, _) => true),
        ["CodeBook"] = Several(OnnxCodeBook.Write, OnMaps),
        ["Concat"] = One("Concat", NotAlongRows, new OnnxSetting(Axis, "axis", "axis")),
        ["Conv2d"] = One("Conv", OnMaps, new(Kernel, "kernel_shape"), new(Twice, "strides", "stride"),
            new(Pads, "pads", "padding"), new(Twice, "dilations", "dilation"), new(Groups, "group")),
        ["Div"] = One("Div", OnRows),
        ["Dropout"] = Several(call => call[0], OnRows),
        ["Element"] = Several(OnnxFunctionNodes.Element, OnRows),
        ["EmbedTokens"] = Several(OnnxTokens.Embed, (_, _) => true),
        ["Exp"] = One("Exp", OnRows),
        ["Gelu"] = Several(OnnxElements.Gelu, OnRows),
        ["GlobalAvgPool2d"] = Several(call => OnnxReductions.MeanOfPlanes(call, keep: false), OnMaps),
        ["GroupNorm"] = Several(OnnxElements.GroupNorm, OnMaps),
        ["IndexAdd"] = Several(OnnxShapes.AddTo, OnRows),
        ["IndexSelect"] = Several(OnnxShapes.Select, OnRows),
        ["Interpolate"] = Several(OnnxResize.Write, OnMaps),
        ["KeepRows"] = Several(OnnxKeepRows.Write, OnRows),
        ["LayerNorm"] = One("LayerNormalization", AlongLast, new(Always, "axis", Number: -1), new(Float, "epsilon", "epsilon"))
            .But(OnnxElements.IsCut, OnnxElements.CutLayerNorm),
        ["Linear"] = Several(OnnxLinear.Write, AlongLast),
        ["Log"] = One("Log", OnRows),
        ["LogSoftmax"] = One("LogSoftmax", AlongLast, new OnnxSetting(Always, "axis", Number: -1)),
        ["MapsToRows"] = Several(OnnxTokens.ToRows, (_, _) => true),
        ["MatMul"] = Several(OnnxLinear.MatMul, (writer, node) => OnRows(writer, node) && !Flagged(node, "transposeA")),
        ["MatchRows"] = Several(OnnxMerging.Match, (_, _) => true),
        ["Max"] = Several(call => OnnxReductions.Write(call, "ReduceMax"), NotAlongRows),
        ["MaxPool2d"] = One("MaxPool", OnMaps, new(Twice, "kernel_shape", "kernel"), new(Twice, "strides", "stride"),
            new(Pads, "pads", "padding")),
        ["Mean"] = Several(call => OnnxReductions.Write(call, "ReduceMean"), NotAlongRows),
        ["MergeRows"] = Several(OnnxMerging.Merge, (_, _) => true),
        ["Mul"] = One("Mul", OnRows),
        ["Neg"] = One("Neg", OnRows),
        ["Pad"] = Several(OnnxShapes.Pad, OnRows),
        ["Pair"] = Several(OnnxFunctionNodes.Pair, OnRows),
        ["PatchesToRows"] = Several(OnnxTokens.Patches, OnRows),
        ["Permute"] = One("Transpose", OnRows, new OnnxSetting(Order, "perm", "axes")),
        ["Pick"] = Several(OnnxFunctionNodes.Pick, OnMaps),
        ["Pow"] = Several(OnnxElements.Pow, OnRows),
        ["Quantise"] = Several(OnnxQuantised.Write, OnRows),
        ["Relu"] = One("Relu", OnRows),
        ["Repeat"] = Several(OnnxFunctionNodes.Repeat, OnMaps),
        ["Reshape"] = Several(OnnxShapes.Reshape, OnRows),
        ["RowDot"] = Several(OnnxTokens.RowDot, (_, _) => true),
        ["RowMean"] = Several(OnnxTokens.Mean, (_, _) => true),
        ["RowNorm"] = Several(OnnxReductions.Norm, OnRows),
        ["RowsToMaps"] = Several(OnnxTokens.ToMaps, OnMaps),
        ["SampleRows"] = Several(OnnxSampling.Write, (_, _) => true),
        ["Sigmoid"] = One("Sigmoid", OnRows),
        ["Silu"] = Several(OnnxElements.Silu, OnRows),
        ["Slice"] = Several(OnnxShapes.Slice, NotAlongRows),
        ["Softmax"] = One("Softmax", AlongLast, new OnnxSetting(Always, "axis", Number: -1)),
        ["Sqrt"] = One("Sqrt", OnRows),
        ["Square"] = Several(call => call.Result("Mul", [call[0], call[0]]), OnRows),
        ["Sub"] = One("Sub", OnRows),
        ["Sum"] = Several(call => OnnxReductions.Write(call, "ReduceSum"), NotAlongRows),
        ["TakeRows"] = Several(OnnxTokens.Take, OnRows),
        ["Tanh"] = One("Tanh", OnRows),
        ["WeightStandardise"] = Several(OnnxElements.WeightStandardise, OnMaps),
        ["Where"] = Several(OnnxFunctionNodes.Where, OnRows),
    };

    /// <summary>Of a reader's operators that one op without settings stands for, the op; null where none does.</summary>
    public static string? OfOperator(string @operator) => Simple.GetValueOrDefault(@operator);

    private static readonly Dictionary<string, string> Simple =
        Entries.Where(e => e.Value is { Operator: not null, Settings.Count: 0 })
        .ToDictionary(e => e.Value.Operator!, e => e.Key);

    /// <summary>The entry of a node's op.</summary>
    /// <exception cref="EspalierException">There is none.</exception>
    public static OnnxEntry Get(GraphNode node) => Entries.GetValueOrDefault(node.Op.Name)
        ?? throw new EspalierException($"{node.Op.Name}: cannot be written as ONNX, which has nothing like it ('{node.Name}')");

    private static OnnxEntry One(string @operator, Func<OnnxWriter, GraphNode, bool> asTokens, params OnnxSetting[] settings) =>
        new(@operator, settings, asTokens, call => call.Result(@operator, call.Inputs, [.. settings.Select(s => s.Write(call))]));

    private static OnnxEntry Several(Func<OnnxCall, string> write, Func<OnnxWriter, GraphNode, bool> asTokens) =>
        new(null, [], asTokens, write);

    // Where the result is token rows and each comes of the operands' same row, the op is written on [N, T, ..].
    private static bool OnRows(OnnxWriter writer, GraphNode node) => writer.IsTokens(node.Output);

    private static bool AlongLast(OnnxWriter writer, GraphNode node) => OnRows(writer, node) && node.Output.Shape.Rank > 1;

    private static bool NotAlongRows(OnnxWriter writer, GraphNode node) => OnRows(writer, node)
        && (node.Op.Settings.Has("axis") ? node.Op.Settings.Int("axis") > 0 : !node.Op.Settings.Ints("axes").Contains(0));

    /// <summary>Operators that want [N, C, H, W].</summary>
    private static bool OnMaps(OnnxWriter writer, GraphNode node) => false;

    private static bool Flagged(GraphNode node, string setting) => node.Op.Settings.Bool(setting);
}
