namespace Espalier.Tensors;

/// <summary>The ops that a graph in a file may have, by name. The list is closed: a file can ask for nothing else.</summary>
public static class OpTable
{
    private static readonly Dictionary<string, Entry> Known = new(StringComparer.Ordinal)
    {
        ["Abs"] = new(1, 1, (x, s) => new AbsOp(x[0]!)),
        ["Add"] = new(2, 2, (x, s) => new AddOp(x[0]!, x[1]!)),
        ["Affine"] = new(1, 1, (x, s) => new AffineOp(x[0]!, s.Float("scale"), s.Float("shift"))),
        ["AssembleTokens"] = new(2, int.MaxValue, (x, s) =>
            new AssembleTokensOp(x[0]!, x[1]!, [.. x.Skip(2).OfType<Tensor>()])),
        ["Attention"] = new(3, 5, (x, s) => new AttentionOp(
            x[0]!, x[1]!, x[2]!, HeadLayout.Read(s, x[0]!.Shape[-1]), s.Float("scale"), x[3], x[4], s.Word<AttentionMask>("mask"),
            ProbabilityCodes.Read(s), s.Has("bytes") && s.Bool("bytes"))),
        ["AvgPool2d"] = new(1, 1, (x, s) =>
            new AvgPool2dOp(x[0]!, s.Int("kernel"), s.Int("stride"), s.Padding("padding"), s.Bool("countIncludePad"))),
        ["BatchNorm2d"] = new(5, 5, (x, s) =>
            new BatchNorm2dOp(x[0]!, x[1]!, x[2]!, x[3]!, x[4]!, false, s.Float("momentum"), s.Float("epsilon"))
            {
                Relu = s.Has("relu") && s.Bool("relu"),
            }),
        ["Clamp"] = new(1, 1, (x, s) => new ClampOp(x[0]!, s.Float("low"), s.Float("high"))),
        ["ClassAttention"] = new(2, 2, (x, s) =>
            new ClassAttentionOp(x[0]!, x[1]!, HeadLayout.Read(s, x[0]!.Shape[-1]), s.Float("scale"))),
        ["CodeBook"] = new(2, 2, (x, s) => new CodeBookOp(x[0]!, x[1]!, s.Ints("sizes"), s.Bool("mean"))),
        ["Concat"] = new(1, int.MaxValue, (x, s) => new ConcatOp(s.Int("axis"), x!)),
        ["Conv2d"] = new(2, 3, (x, s) =>
            Conv2dOp.Of(x[0]!, x[1]!, x[2], s.Strides("stride"), s.Padding("padding"), s.Int("dilation"))),
        ["Div"] = new(2, 2, (x, s) => new DivOp(x[0]!, x[1]!)),
        ["Dropout"] = new(1, 1, (x, s) =>
            new DropoutOp(x[0]!, s.Float("rate"), perImage: s.Has("perImage") && s.Bool("perImage"))),
        ["Element"] = new(1, 1, (x, s) => new ElementOp(x[0]!, s.Word<ElementFunction>("function"), s.Float("a"), s.Float("b"))),
        ["EmbedTokens"] = new(3, 3, (x, s) => new EmbedTokensOp(x[0]!, x[1]!, x[2]!)),
        ["Exp"] = new(1, 1, (x, s) => new ExpOp(x[0]!)),
        ["Gelu"] = new(1, 1, (x, s) => new GeluOp(x[0]!)),
        ["GlobalAvgPool2d"] = new(1, 1, (x, s) => new GlobalAvgPool2dOp(x[0]!)),
        ["GroupNorm"] = new(3, 3, (x, s) => GroupNormOp.Of(x[0]!, x[1]!, x[2]!, s.Int("size"), s.Float("epsilon"))),
        ["IndexAdd"] = new(4, 4, (x, s) => new IndexAddOp(x[0]!, x[1]!, x[2]!, x[3]!), List: 2),
        ["IndexSelect"] = new(2, 2, (x, s) => new IndexSelectOp(x[0]!, x[1]!), List: 1),
        ["Interpolate"] = new(1, 1, (x, s) =>
            new InterpolateOp(x[0]!, s.Int("height"), s.Int("width"), s.Word<ResizeMode>("mode"))),
        ["KeepRows"] = new(2, 2, (x, s) =>
            new KeepRowsOp(x[0]!, x[1]!, KeepRule.Read(s), s.Int("prefix"), s.Has("fuse") && s.Bool("fuse"))),
        ["LayerNorm"] = new(3, 3, (x, s) => new LayerNormOp(x[0]!, x[1]!, x[2]!, s.Float("epsilon"), s.Int("width"))),
        ["Linear"] = new(2, 4, (x, s) => new LinearOp(x[0]!, x[1]!, x[2], x[3], s.Bool("gelu"))),
        ["Log"] = new(1, 1, (x, s) => new LogOp(x[0]!)),
        ["LogSoftmax"] = new(1, 1, (x, s) => new LogSoftmaxOp(x[0]!)),
        ["MapsToRows"] = new(1, 2, (x, s) => new MapsToRowsOp(x[0]!, x[1], s.Int("prefix"))),
        ["MatMul"] = new(2, 2, (x, s) => new MatMulOp(x[0]!, x[1]!, s.Bool("transposeA"), s.Bool("transposeB"))),
        ["MatchRows"] = new(1, 1, (x, s) =>
            new MatchRowsOp(x[0]!, HeadLayout.Read(s, x[0]!.Shape[-1]), s.Int("count"), s.Int("prefix"))),
        ["Max"] = new(1, 1, (x, s) => new MaxOp(x[0]!, s.Ints("axes"), s.Bool("keepDims"))),
        ["MaxPool2d"] = new(1, 1, (x, s) => new MaxPool2dOp(x[0]!, s.Int("kernel"), s.Int("stride"), s.Padding("padding"))),
        ["Mean"] = new(1, 1, (x, s) => new MeanOp(x[0]!, s.Ints("axes"), s.Bool("keepDims"))),
        ["MergeRows"] = new(2, 3, (x, s) =>
            new MergeRowsOp(x[0]!, x[1]!, x[2], s.Int("count"), s.Int("prefix"), s.Bool("mean"))),
        ["Mul"] = new(2, 2, (x, s) => new MulOp(x[0]!, x[1]!)),
        ["Neg"] = new(1, 1, (x, s) => new NegOp(x[0]!)),
        ["Pad"] = new(1, 1, (x, s) => PadOp.Of(x[0]!, s.Ints("before"), s.Ints("after"), s.Float("value"))),
        ["PatchesToRows"] = new(1, 1, (x, s) => new PatchesToRowsOp(x[0]!, s.Int("patch"))),
        ["Pair"] = new(2, 2, (x, s) => new PairOp(x[0]!, x[1]!, s.Word<PairFunction>("function"))),
        ["Permute"] = new(1, 1, (x, s) => new PermuteOp(x[0]!, s.Ints("axes"))),
        ["Pick"] = new(2, 2, (x, s) => new PickOp(x[0]!, x[1]!, s.Ints("sizes"), s.Float("value")), List: 1),
        ["Pow"] = new(1, 1, (x, s) => new PowOp(x[0]!, s.Float("exponent"))),
        ["Quantise"] = new(2, 3, (x, s) =>
            new QuantiseOp(x[0]!, x[1]!, x[2], s.Int("low"), s.Int("high"), s.Int("axis"))),
        ["Relu"] = new(1, 1, (x, s) => new ReluOp(x[0]!)),
        ["Repeat"] = new(2, 2, (x, s) => new RepeatOp(x[0]!, x[1]!)),
        ["Reshape"] = new(1, 1, (x, s) => new ReshapeOp(x[0]!, s.Ints("from"), s.Ints("to"), s.Ints("sizes"))),
        ["RowDot"] = new(2, 3, (x, s) => new RowDotOp(x[0]!, x[1]!, x[2])),
        ["RowMean"] = new(1, 1, (x, s) => new RowMeanOp(x[0]!, s.Int("prefix"))),
        ["RowNorm"] = new(1, 1, (x, s) => new RowNormOp(x[0]!)),
        ["RowsToMaps"] = new(1, 1, (x, s) => new RowsToMapsOp(x[0]!, s.Int("prefix"), s.Int("height"), s.Int("width"))),
        ["SampleRows"] = new(1, 1, (x, s) => new SampleRowsOp(x[0]!, s.Int("count"), s.Int("prefix"))),
        ["Sigmoid"] = new(1, 1, (x, s) => new SigmoidOp(x[0]!)),
        ["Silu"] = new(1, 1, (x, s) => new SiluOp(x[0]!)),
        ["Slice"] = new(1, 1, (x, s) => SliceOp.Of(x[0]!, s)),
        ["Softmax"] = new(1, 1, (x, s) => new SoftmaxOp(x[0]!)),
        ["Sqrt"] = new(1, 1, (x, s) => new SqrtOp(x[0]!)),
        ["Square"] = new(1, 1, (x, s) => new SquareOp(x[0]!)),
        ["Sub"] = new(2, 2, (x, s) => new SubOp(x[0]!, x[1]!)),
        ["Sum"] = new(1, 1, (x, s) => new SumOp(x[0]!, s.Ints("axes"), s.Bool("keepDims"))),
        ["TakeRows"] = new(1, 1, (x, s) => new TakeRowsOp(x[0]!, s.Int("start"), s.Int("count"))),
        ["Tanh"] = new(1, 1, (x, s) => new TanhOp(x[0]!)),
        ["WeightStandardise"] = new(1, 1, (x, s) => new WeightStandardiseOp(x[0]!, s.Word<WeightStandardisation>("variant"))),
        ["Where"] = new(3, 3, (x, s) => new WhereOp(x[0]!, x[1]!, x[2]!)),
    };

    /// <summary>All names.</summary>
    public static IReadOnlyCollection<string> Names => Known.Keys;

    /// <summary>Makes an op, not run yet.</summary>
    /// <param name="operands">In the order of the op's constructor; null for optional ones that are left out. Those at the end may
    /// be missing.</param>
    /// <exception cref="ArgumentException">There is no op of that name, or operands or settings do not fit it.</exception>
    public static Op Create(string name, Tensor?[] operands, OpSettings settings)
    {
        if (!Known.TryGetValue(name, out Entry entry)) throw new ArgumentException($"there is no op '{name}'");
        int given = operands.Length;
        if (given < entry.Least || given > entry.Most || Array.IndexOf(operands, null, 0, entry.Least) >= 0)
            throw new ArgumentException($"{name}: {given} operands, or one of them is missing; it has {entry.Least} to {entry.Most}");
        if (entry.Most != int.MaxValue && given < entry.Most) Array.Resize(ref operands, entry.Most);
        else if (entry.Most == int.MaxValue && Array.IndexOf(operands, null) >= 0) throw new ArgumentException($"{name}: an operand is missing");
        return entry.Make(operands, settings);
    }

    /// <summary>Which operand of an op is a list whose numbers its constructor reads, so that a shape does not do; null where none is.
    /// </summary>
    public static int? ListOperand(string name) => Known.GetValueOrDefault(name).List;

    /// <param name="Least">Operands that must be there.</param>
    /// <param name="Most">With the optional ones.</param>
    /// <param name="List">See <see cref="ListOperand"/>.</param>
    private readonly record struct Entry(int Least, int Most, Func<Tensor?[], OpSettings, Op> Make, int? List = null);
}
