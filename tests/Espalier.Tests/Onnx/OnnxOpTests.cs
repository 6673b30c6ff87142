using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>ONNX Runtime computes of every op that a graph may have what the op computes, in both opsets.</summary>
public sealed class OnnxOpTests : IDisposable
{
    private const int Images = 3;
    private const float Tolerance = 2e-5f;

    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>What is done with images [N, 4, 6, 6], by the op's name; each is a file of its own.</summary>
    private static readonly Dictionary<string, Func<Tensor, Tensor>[]> Cases = new()
    {
        ["Abs"] = [x => F.Abs(x), x => F.Abs(Tokens(x))],
        ["Add"] =
        [
            x => F.Add(x, W(4, 1, 1)), x => F.Add(W(16), Tokens(F.Add(W(1, 4, 6, 6), x))), x => F.Add(x, F.Mean(x, [1, 2], true)),
        ],
        ["Affine"] = [x => F.Affine(x, 2, -1), x => F.Mul(x, 3), x => F.Add(x, 3)],
        ["AssembleTokens"] = [x => Assembled(x, 0), x => Assembled(x, 1), x => Assembled(x, 3)],
        ["Attention"] =
        [
            x => Attend(x, HeadLayout.Uniform(2, 4)), x => Attend(x, HeadLayout.Uniform(2, 4, 3)),
            x => Attend(x, new HeadLayout([2, 4, 1], [3, 2, 5])),
            x => Attend(x, HeadLayout.Uniform(2, 4), mask: AttentionMask.Causal),
            x => Attend(x, new HeadLayout([3, 4], [2, 6]), pairs: true, mask: AttentionMask.Causal),
            x => Attend(x, HeadLayout.Uniform(2, 4), pairs: true, keys: true),
            x => Attend(x, HeadLayout.Uniform(2, 4), keys: true),
            x => Attend(x, new HeadLayout([3, 4], [2, 6]), keys: true), x => Attend(x, HeadLayout.Uniform(3, 2), first: 1),
            x => Attend(x, HeadLayout.Uniform(2, 4), first: 2, pairs: true),
            x => Attend(x, new HeadLayout([3, 4], [2, 6]), first: 2),
            x => F.Attention(Pixels(x), Pixels(x), Pixels(x), HeadLayout.Uniform(2, 2), 0.5f, mask: AttentionMask.Causal),
            .. Enum.GetValues<ProbabilityCoding>().Select(c => (Func<Tensor, Tensor>)(x => F.Attention(
                Tokens(x), Tokens(x), Tokens(x), HeadLayout.Uniform(2, 8), 0.5f,
                probabilities: new ProbabilityCodes(c, 6, c == ProbabilityCoding.Twin ? 3 : 0)))),
            x => F.Attention(Tokens(x), Tokens(x), Tokens(x), new HeadLayout([7, 9], [6, 10]), 0.5f, mask: AttentionMask.Causal,
                probabilities: new ProbabilityCodes(ProbabilityCoding.Log2, 4)),
            x => F.Attention(Tokens(x), Tokens(x), Tokens(x), HeadLayout.Uniform(2, 8), 0.5f, bytes: true),
            x => F.Attention(Tokens(x), Tokens(x), Tokens(x), new HeadLayout([7, 9], [6, 10]), 0.5f, bytes: true),
        ],
        ["AvgPool2d"] =
        [
            x => F.AvgPool2d(x, 3, 2, 1), x => F.AvgPool2d(x, 3, 2, new Padding(0, 1, 1, 0), countIncludePad: false),
        ],
        ["BatchNorm2d"] = [x => F.BatchNorm2d(x, W(4), W(4), W(4), F.Square(W(4)), training: false, epsilon: 0.1f)],
        ["Clamp"] = [x => F.Clamp(x, -0.5f, 0.25f), x => F.Clamp(Tokens(x), 0, float.PositiveInfinity)],
        ["ClassAttention"] =
        [
            x => Shares(Tokens(x), HeadLayout.Uniform(2, 4)), x => Shares(Tokens(x), new HeadLayout([3, 1], [3, 1])),
            x => Shares(Keep(x, KeepRule.Share(0.5)), HeadLayout.Uniform(1, 4)),
            x => F.Exp(Shares(Keep(x, KeepRule.AtLeast(-0.2f)), HeadLayout.Uniform(2, 4))),
        ],
        ["CodeBook"] = [x => F.Conv2d(x, F.CodeBook(W(2, 8), F.Reshape(L(0, 1, 1, 0, 1, 1), 2, 3), [3, 4, 2, 2]))],
        ["Concat"] =
        [
            x => F.Concat(1, x, F.Relu(x), x), x => F.Concat(-1, x, x), x => F.Concat(1, Tokens(x), F.Exp(Tokens(x))),
            x => F.Concat(0, x, F.Neg(x)),
        ],
        ["Conv2d"] =
        [
            x => F.Conv2d(x, W(5, 4, 3, 3), W(5), 2, 1), x => F.Conv2d(x, W(8, 2, 3, 1), null, 1, new Padding(0, 2, 1, 0), 1, 2),
            x => F.Conv2d(x, W(4, 1, 2, 2), W(4), dilation: 2, groups: 4),
            x => F.Conv2d(x, W(5, 4, 3, 1), W(5), new Strides(2, 1), new Padding(1, 1, 0, 0)),
        ],
        ["Div"] = [x => F.Div(x, F.Add(F.Exp(W(6, 1)), 1)), x => F.Div(W(16), F.Exp(Tokens(x)))],
        ["Dropout"] = [x => F.Relu(F.Dropout(x, 0.5f, new RandomStream(1), training: true))],
        ["Element"] =
        [
            .. Enum.GetValues<ElementFunction>().Select(f => (Func<Tensor, Tensor>)(x =>
                F.Element(f == ElementFunction.Acosh ? F.Add(F.Abs(x), 1.5f) : F.Mul(x, 0.9f), f, 0.7f, 0.4f))),
            x => F.Element(Tokens(x), ElementFunction.Erf),
        ],
        ["EmbedTokens"] =
        [
            x => F.TakeRows(Words(x), -1), x => F.TakeRows(Causal(Words(x), HeadLayout.Uniform(2, 4)), -1),
            x => F.Relu(F.TakeRows(F.Tanh(Causal(Words(x), new HeadLayout([3, 4], [2, 6]))), -1)),
        ],
        ["Exp"] = [x => F.Exp(x)],
        ["Gelu"] = [x => F.Gelu(x), x => F.Gelu(Tokens(x))],
        ["GlobalAvgPool2d"] = [x => F.GlobalAvgPool2d(x)],
        ["GroupNorm"] =
        [
            x => F.GroupNorm(x, W(4), W(4), 2, 1e-3f), x => F.GroupNorm(x, W(4), W(4), 4), x => F.GroupNorm(x, W(4), W(4), 1),
        ],
        ["IndexAdd"] =
        [
            x => F.IndexAdd(x, W(4), L(2, 0), F.Slice(F.Exp(x), 1, 1, 2)), x => F.IndexAdd(x, Z(4), L(0, 1, 2, 3), x),
            x => F.IndexAdd(Tokens(x), Z(16), L(5, 1), F.Slice(Tokens(x), 1, 3, 2)),
        ],
        ["IndexSelect"] =
        [
            x => F.IndexSelect(x, L(3, 1)), x => F.Relu(F.IndexSelect(x, L(0, 1, 2, 3))), x => F.IndexSelect(Tokens(x), L(9, 2)),
        ],
        ["Interpolate"] =
        [
            .. from mode in Enum.GetValues<ResizeMode>() from size in new[] { (12, 18), (3, 2), (7, 5), (6, 11), (1, 1) }
               select (Func<Tensor, Tensor>)(x => F.Interpolate(x, size.Item1, size.Item2, mode)),
        ],
        ["KeepRows"] =
        [
            x => Keep(x, KeepRule.All), x => Keep(x, KeepRule.Share(0.4)), x => Keep(x, KeepRule.Count(3), prefix: 0),
            x => Keep(x, KeepRule.Count(20)), x => Keep(x, KeepRule.Tokens([2, 3, 8])), x => Keep(x, KeepRule.AtLeast(-0.2f)),
            x => Keep(x, KeepRule.AtLeast(0.1f), prefix: 0), x => Twice(x, KeepRule.Share(0.7), KeepRule.Share(0.5)),
            x => Twice(x, KeepRule.AtLeast(-0.4f), KeepRule.Share(0.5)),
            x => Twice(x, KeepRule.Share(0.7), KeepRule.Tokens([1, 4, 5, 7])),
            x => Twice(x, KeepRule.Tokens([1, 4, 5, 7]), KeepRule.AtLeast(-0.4f)),
            x => Twice(x, KeepRule.Count(4), KeepRule.AtLeast(0.1f)),
            x => Attend(Keep(x, KeepRule.Share(0.5)), HeadLayout.Uniform(2, 4)),
            x => Attend(
                Keep(x, KeepRule.AtLeast(-0.3f)), HeadLayout.Uniform(2, 4), pairs: true, mask: AttentionMask.Causal, keys: true),
            x => Broken(x, KeepRule.AtLeast(0)), x => Fused(Tokens(x), KeepRule.Count(3)),
            x => Fused(Tokens(x), KeepRule.Share(0.3), 2),
            x => Fused(Fused(Tokens(x), KeepRule.Share(0.7)), KeepRule.Share(0.6)), x => Fused(Tokens(x), KeepRule.Share(1)),
            x => F.Neg(F.KeepRows(Tokens(x), F.Neg(Score(Tokens(x))), KeepRule.AtLeast(-0.1f))),
        ],
        ["LayerNorm"] =
        [
            x => F.LayerNorm(Tokens(x), W(16), W(16), 1e-3f), x => F.LayerNorm(x, W(6), W(6), 1e-6f),
            x => F.LayerNorm(Tokens(x), W(16), W(16), 1e-3f, 21), x => F.LayerNorm(x, W(6), W(6), 1e-6f, 7),
        ],
        ["Linear"] =
        [
            x => F.Linear(x, W(3, 6), W(3)), x => F.Linear(F.Flatten(x), W(3, 144), W(3)), x => F.Linear(F.Flatten(x), W(3, 144)),
            x => F.Linear(F.Exp(Tokens(x)), W(5, 16), W(5)), x => F.Linear(Tokens(x), W(5, 16), W(5), gelu: true),
            x => F.Linear(Tokens(x), W(16, 16), residual: F.Exp(Tokens(x))),
            x => F.Linear(Tokens(x), W(16, 16), W(16), Tokens(x), gelu: true),
            x => Shared(F.Exp(Tokens(x)), W(16, 16)),
        ],
        ["Log"] = [x => F.Log(F.Add(F.Square(x), 0.1f))],
        ["LogSoftmax"] = [x => F.LogSoftmax(x), x => F.LogSoftmax(Tokens(x))],
        ["MapsToRows"] =
        [
            x => F.MapsToRows(x), x => F.Exp(F.MapsToRows(x, null, 2)),
            x => F.MapsToRows(x, F.TakeRows(F.PatchesToRows(F.Slice(x, 1, 0, 1), 2), 3, 2), 2),
            x => F.Neg(F.MapsToRows(x, F.TakeRows(F.PatchesToRows(F.Slice(x, 1, 0, 1), 2), 0), 1)),
        ],
        ["MatMul"] =
        [
            x => F.MatMul(Pixels(x), Pixels(F.Exp(x)), transposeB: true),
            x => F.MatMul(Pixels(x), Pixels(F.Exp(x)), transposeA: true),
            x => F.MatMul(Tokens(x), W(16, 3)), x => F.MatMul(Tokens(x), W(3, 16), transposeB: true),
            x => F.MatMul(F.Split(Tokens(x), 1, 4, 4), F.Split(F.Exp(Tokens(x)), 1, 4, 4), transposeB: true),
            x => F.MatMul(F.Flatten(x), W(144, 2)),
        ],
        ["MatchRows"] =
        [
            .. from prefix in new[] { 0, 1, 2 } from count in new[] { 0, 1, 3, 9 }
               select (Func<Tensor, Tensor>)(x => F.MatchRows(Tokens(x), HeadLayout.Uniform(4, 4), count, prefix)),
            x => F.MatchRows(Keep(x, KeepRule.Count(5)), new HeadLayout([10, 6], [10, 6]), 2),
        ],
        ["Max"] = [x => F.Max(x, 1), x => F.Max(x, [2, 3], true), x => F.Max(Tokens(x), 1)],
        ["MaxPool2d"] = [x => F.MaxPool2d(x, 3, 2, 1), x => F.MaxPool2d(x, 2, 1, new Padding(0, 1, 0, 1))],
        ["Mean"] =
        [
            x => F.Mean(x, 2, 3), x => F.Mean(x, [2, 3], true), x => F.Mean(x, 1, 3), x => F.Mean(x, [2], true),
            x => F.Mean(Tokens(x), [1], true),
            x => F.Mean(F.Split(Tokens(x), 1, 4, 4), 2), x => F.Mean(Pixels(x), 1),
        ],
        ["MergeRows"] =
        [
            x => Merge(Tokens(x), 3), x => Merge(Merge(Tokens(x), 3), 2), x => Merge(Tokens(x), 2, 2),
            x => F.MergeRows(Tokens(x), Plan(Tokens(x), 2, 1), 2, mean: false),
            x => F.MergeRows(Tokens(x), Plan(Tokens(x), 2, 1), 2),
            x => F.MergeRows(Score(Tokens(x)), Plan(Tokens(x), 2, 1), 2),
            x => Attend(Merge(Tokens(x), 2), HeadLayout.Uniform(2, 4)),
            x => F.MergeRows(Score(Tokens(x)), Plan(Tokens(x), 4, 1), 4, mean: false),
        ],
        ["Mul"] = [x => F.Mul(x, F.Sigmoid(x)), x => F.Mul(x, F.Split(F.GlobalAvgPool2d(x), 1, -1, 1, 1))],
        ["Neg"] = [x => F.Neg(x)],
        ["Pad"] =
        [
            x => F.Pad(x, [(1, 2), (0, 3)], 0.5f), x => F.Pad(x, [(1, 0), (0, 0), (0, 0)]), x => F.Pad(Tokens(x), [(2, 1)]),
        ],
        ["Pair"] =
        [
            .. Enum.GetValues<PairFunction>().Select(f => (Func<Tensor, Tensor>)(x => f switch
            {
                PairFunction.Pow => F.Pair(F.Add(F.Abs(x), 0.1f), W(6, 1), f),
                PairFunction.Mod or PairFunction.FMod => F.Pair(x, F.Add(F.Abs(W(4, 1, 1)), 0.3f), f),
                PairFunction.And or PairFunction.Or or PairFunction.Xor => F.Pair(F.Relu(x), F.Relu(W(4, 1, 1)), f),
                _ => F.Pair(x, W(4, 1, 1), f),
            })),
        ],
        ["PatchesToRows"] =
        [
            x => F.PatchesToRows(x, 3), x => F.Exp(F.PatchesToRows(x, 2)), x => F.PatchesToRows(x, 6), x => Patches(x),
        ],
        ["Permute"] = [x => F.Permute(x, 0, 3, 1, 2), x => F.Permute(F.Split(Tokens(x), 1, 2, 8), 0, 2, 1)],
        ["Pick"] = [x => F.Pick(x, L(3, 143, 3, 0), [2, 2]), x => F.Pick(x, L(-1, 5, 70), [3], 0.25f)],
        ["Pow"] = [x => F.Pow(F.Abs(x), 1.5f), x => F.Pow(x, 3)],
        ["Quantise"] =
        [
            x => F.Quantise(x, Tensor.Scalar(0.007f), Tensor.Scalar(120), 0, 255), x => F.Quantise(x, Tensor.Scalar(0.3f), null, -128, 127),
            x => F.Quantise(x, Tensor.Scalar(0.1f), Tensor.Scalar(7), 0, 15), x => F.Quantise(Tokens(x), Tensor.Scalar(0.01f), Tensor.Scalar(9), 0, 255),
            x => F.Conv2d(Codes(x), F.Quantise(W(5, 4, 3, 3), Scales(5), null, -127, 127, axis: 0)),
            x => F.Linear(Codes(Tokens(x)), F.Quantise(W(3, 16), Scales(3), null, -7, 7, axis: 0), W(3)),
            x => F.Linear(Codes(F.Flatten(x)), F.Quantise(W(2, 144), Tensor.Scalar(0.01f))),
        ],
        ["Relu"] = [x => F.Relu(x)],
        ["Repeat"] = [x => F.Concat(1, F.Repeat(W(1, 2, 6, 6), x), x)],
        ["Reshape"] =
        [
            x => F.Flatten(x), x => F.Flatten(x, 0, 1), x => F.Split(F.Flatten(F.Exp(x), 0, 1), 0, -1, 4),
            x => F.Split(Tokens(x), 0, -1, 9),
            x => F.Split(Tokens(x), 1, 2, 8), x => F.Flatten(F.Split(Tokens(x), 1, 2, 8)),
            x => F.Flatten(F.Split(Tokens(x), 0, -1, 9), 0, 1),
            x => F.Flatten(Tokens(x), 0, 1),
        ],
        ["RowDot"] =
        [
            x => F.RowDot(Tokens(x), F.TakeRows(Tokens(x), 2)),
            x => F.RowDot(Tokens(x), F.Exp(F.TakeRows(Tokens(x), 0)), F.Mean(x, 1, 2, 3)),
            x => F.RowDot(Tokens(x), F.TakeRows(Tokens(x), 1), F.Linear(F.Flatten(x), W(1, 144))),
            x => F.RowDot(F.TakeRows(Tokens(x), 4), F.TakeRows(Tokens(x), 2)),
        ],
        ["RowMean"] =
        [
            x => F.RowMean(Tokens(x)), x => F.RowMean(F.Exp(Tokens(x)), 0), x => F.RowMean(Tokens(x), 2),
            x => F.RowMean(Keep(x, KeepRule.Share(0.5))), x => F.Exp(F.RowMean(Keep(x, KeepRule.AtLeast(-0.3f)))),
            x => F.RowMean(F.TakeRows(Tokens(x), 1), 0),
        ],
        ["RowNorm"] = [x => F.RowNorm(Tokens(x)), x => F.RowNorm(F.Flatten(x))],
        ["RowsToMaps"] =
        [
            x => F.RowsToMaps(Tokens(x), 0, 3, 3), x => F.RowsToMaps(F.Exp(Tokens(x)), 4, 1, 5),
            x => F.Conv2d(F.RowsToMaps(Assembled(x, 2), 2, 3, 3), W(5, 16, 3, 3), W(5), 1, 1),
        ],
        ["SampleRows"] =
        [
            x => F.SampleRows(F.Square(Score(Tokens(x))), 4), x => F.SampleRows(F.Exp(Score(Tokens(x))), 9, 0),
            x => F.SampleRows(F.Pow(F.Abs(Score(Tokens(x))), 8), 6, 2), x => F.SampleRows(F.Abs(Score(Tokens(x))), 2),
            x => Sampled(Sampled(Tokens(x), 7), 4),
        ],
        ["Sigmoid"] = [x => F.Sigmoid(x)],
        ["Silu"] = [x => F.Silu(x)],
        ["Slice"] = [x => F.Slice(x, 1, 1, 2), x => F.Slice(x, -1, 5, 1), x => F.Slice(Tokens(x), 1, 3, 7)],
        ["Softmax"] = [x => F.Softmax(x), x => F.Softmax(Tokens(x))],
        ["Sqrt"] = [x => F.Sqrt(F.Abs(x))],
        ["Square"] = [x => F.Square(x)],
        ["Sub"] = [x => F.Sub(W(1, 4, 1, 6), x), x => F.Sub(Tokens(x), W(16))],
        ["Sum"] = [x => F.Sum(x, 1), x => F.Sum(x, [1, 2, 3], true), x => F.Sum(Tokens(x), 1)],
        ["TakeRows"] =
        [
            x => F.TakeRows(Tokens(x), -1), x => F.TakeRows(Tokens(x), -3, 2),
            x => F.TakeRows(Tokens(x), 0), x => F.TakeRows(Tokens(x), 3, 4), x => F.TakeRows(F.TakeRows(Tokens(x), 3, 4), 1),
            x => F.Linear(F.Exp(F.TakeRows(F.Linear(Tokens(x), W(8, 16), W(8)), 0)), W(2, 8), W(2)),
            x => F.Add(F.TakeRows(F.Exp(Tokens(x)), 0), F.Slice(F.Flatten(x), 1, 0, 16)),
        ],
        ["Tanh"] = [x => F.Tanh(x)],
        ["WeightStandardise"] =
        [
            .. Enum.GetValues<WeightStandardisation>().SelectMany(v => new Func<Tensor, Tensor>[]
            {
                x => F.Conv2d(x, F.WeightStandardise(W(3, 4, 3, 3), v)), x => F.WeightStandardise(x, v),
            }),
        ],
        ["Where"] = [x => F.Where(F.Pair(x, W(6), PairFunction.Less), x, W(4, 1, 1)), x => F.Where(F.Relu(Tokens(x)), Tokens(x), W(16))],
    };

    public static TheoryData<string> Ops => [.. OpTable.Names];

    [Theory]
    [MemberData(nameof(Ops))]
    public void EveryOpIsWrittenAndGivesTheSame(string op)
    {
        Assert.True(Cases.ContainsKey(op), $"no case for {op}");
        for (int i = 0; i < Cases[op].Length; i++)
            foreach (int opset in OnnxFile.Opsets) Compare(Cases[op][i], op, $"{op} {i} opset {opset}", opset);
    }

    private void Compare(Func<Tensor, Tensor> forward, string op, string what, int opset)
    {
        using var scope = new Scope();
        Graph graph = Graph.Trace(forward, new Shape(2, 4, 6, 6), []);
        Assert.Contains(graph.Nodes, n => n.Op.Name == op);
        Tensor images = Values(new Shape(Images, 4, 6, 6), 3);
        string file = Path.Combine(folder.Path, "op.onnx");
        OnnxSummary summary = OnnxFile.Write(file, graph, new OnnxOptions { Opset = opset });
        float[] expected = graph.Run(images).ToArray();
        float scale = Math.Max(1, expected.Max(MathF.Abs));
        foreach (int batch in summary.Inputs[0].Contains("[1,", StringComparison.Ordinal) ? new[] { 1 } : [1, Images])
        {
            float[] actual = OnnxRuntime.Floats(OnnxRuntime.Run(file, images.Span, batch)["logits"]);
            // Of images one by one what is one axis of all images comes piece by piece.
            Assert.True(expected.Length == actual.Length, $"{what}: {actual.Length} values, not {expected.Length}");
            if (what.StartsWith("Concat 3", StringComparison.Ordinal) && batch == 1) continue;
            for (int i = 0; i < expected.Length; i++)
            {
                Assert.True(MathF.Abs(expected[i] - actual[i]) <= Tolerance * scale,
                    $"{what}, batch {batch}, {i}: {actual[i]}, not {expected[i]}");
            }
        }
    }

    private static Tensor Values(Shape shape, ulong seed)
    {
        var t = new Tensor(shape);
        var rng = new Rng(seed);
        foreach (ref float x in t.Span) x = rng.NextFloat(-1, 1);
        return t;
    }

    /// <summary>A weight of that shape.</summary>
    private static Tensor W(params int[] shape) => Values(new Shape(shape), (ulong)shape.Length + 10);

    private static Tensor Codes(Tensor x) => F.Quantise(x, Tensor.Scalar(0.008f), Tensor.Scalar(128), 0, 255);

    private static Tensor Scales(int count) => F.Affine(W(count), 0.002f, 0.01f);

    private static Tensor Z(int count) => Tensor.Zeros(new Shape(count));

    private static Tensor L(params float[] list) => Tensor.From(new Shape(list.Length), list);

    /// <summary>Nine token rows of 16 an image.</summary>
    private static Tensor Tokens(Tensor x) => F.PatchesToRows(x, 2);

    /// <summary>[N, 36, 4], without a row set.</summary>
    private static Tensor Pixels(Tensor x) => F.Permute(F.Flatten(x, 2), 0, 2, 1);

    /// <summary>As a transformer begins: a linear layer of patches, which is a convolution.</summary>
    private static Tensor Patches(Tensor x) => F.Linear(F.PatchesToRows(x, 3), F.Flatten(W(7, 4, 3, 3)), W(7));

    private static Tensor Assembled(Tensor x, int prefix) =>
        F.AssembleTokens(Tokens(x), W(1, 9 + prefix, 16), prefix == 3 ? [W(1, 1, 16), W(1, 2, 16)] : [.. Enumerable.Range(0, prefix).Select(_ => W(1, 1, 16))]);

    private static Tensor Shared(Tensor x, Tensor weight) => F.Add(F.Linear(x, weight), F.MatMul(x, weight));

    private static Tensor Attend(Tensor x, HeadLayout heads, bool pairs = false, bool keys = false, int first = 0,
        AttentionMask mask = AttentionMask.None)
    {
        Tensor rows = x.Rank == 4 ? Tokens(x) : x;
        Tensor asking = first == 0 ? rows : F.TakeRows(rows, 0, first);
        Tensor q = F.Linear(asking, W(heads.QueryWidth, 16)), k = F.Linear(rows, W(heads.QueryWidth, 16), W(heads.QueryWidth));
        Tensor? bias = pairs ? W(heads.Count, 9, 9) : keys ? Score(rows) : null;
        Tensor? seen = keys ? F.Clamp(F.Mul(F.Add(Score(F.Neg(rows)), 0.3f), 1e6f), 0, 1) : null;
        return F.Attention(q, k, F.Linear(rows, W(heads.ValueWidth, 16)), heads, 0.7f, bias, seen, mask);
    }

    /// <summary>A score of every row, [rows].</summary>
    private static Tensor Causal(Tensor rows, HeadLayout heads) => F.Attention(
        F.Linear(rows, W(heads.QueryWidth, 16)), F.Linear(F.Tanh(rows), W(heads.QueryWidth, 16)),
        F.Linear(rows, W(heads.ValueWidth, 16)), heads, 0.7f, mask: AttentionMask.Causal);

    /// <summary>Six ids an image, 0 to 3, the first of the largest of which is somewhere.</summary>
    private static Tensor Words(Tensor x) => F.EmbedTokens(
        F.Element(F.Clamp(F.Affine(F.Mean(x, 1, 2), 4, 1.5f), 0, 3), ElementFunction.Round), W(4, 16), W(6, 16));

    private static Tensor Score(Tensor rows) => F.Mean(F.Mul(rows, W(16)), 1);

    private static Tensor Keep(Tensor x, KeepRule rule, int prefix = 1) =>
        F.KeepRows(x.Rank == 4 ? Tokens(x) : x, Score(x.Rank == 4 ? Tokens(x) : x), rule, prefix);

    /// <summary>Two decisions, the second of a score [rows, 1].</summary>
    private static Tensor Twice(Tensor x, KeepRule first, KeepRule second)
    {
        Tensor rows = F.Exp(Keep(x, first));
        return F.Relu(F.KeepRows(rows, F.Linear(F.Sub(rows, W(16)), W(1, 16)), second));
    }

    private static Tensor Shares(Tensor rows, HeadLayout heads) => F.ClassAttention(
        F.Linear(F.TakeRows(rows, 0), W(heads.QueryWidth, 16)), F.Linear(F.Exp(rows), W(heads.QueryWidth, 16)), heads, 0.7f);

    private static Tensor Fused(Tensor rows, KeepRule rule, int prefix = 1) =>
        F.Exp(F.KeepRows(rows, Score(F.Exp(rows)), rule, prefix, fuse: true));

    private static Tensor Plan(Tensor rows, int count, int prefix) =>
        F.MatchRows(F.Linear(rows, W(8, 16)), HeadLayout.Uniform(2, 4), count, prefix);

    private static Tensor Merge(Tensor rows, int count, int prefix = 1) =>
        F.MergeRows(rows, Plan(rows, count, prefix), count, prefix, weights: F.Exp(Score(rows)));

    private static Tensor Sampled(Tensor rows, int count) =>
        F.Exp(F.KeepRows(rows, F.SampleRows(F.Square(Score(rows)), count), KeepRule.AtLeast(0.5f)));

    /// <summary>Some scores are no numbers.</summary>
    private static Tensor Broken(Tensor x, KeepRule rule) => F.KeepRows(Tokens(x), F.Log(Score(Tokens(x))), rule);
}
