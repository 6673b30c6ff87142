using Espalier.Compression;
using Espalier.Inference;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tests.Files;

namespace Espalier.Tests.Models;

/// <summary>
/// Every op of <see cref="OpTable"/> through every reader of graphs: run, gradient, file, session, flow, cost. A new op without a
/// line here, or without one of these, is seen at once.
/// </summary>
[Collection("Workers")]
public sealed class OpReadersTests : IDisposable
{
    private const int Width = 8, Patches = 4;

    private readonly Dictionary<string, Tensor> weights = [];
    private readonly Dictionary<string, Func<OpReadersTests, Tensor, Tensor>> uses = new(StringComparer.Ordinal)
    {
        ["Abs"] = (_, x) => F.Abs(x),
        ["Add"] = (t, x) => F.Add(x, t.Weight("w", 3, 1, 1)),
        ["Affine"] = (_, x) => F.Affine(x, 2, 0.5f),
        ["AssembleTokens"] = (t, x) => t.Tokens(x),
        ["Attention"] = (t, x) => t.Attention(t.Tokens(x)),
        ["AvgPool2d"] = (_, x) => F.AvgPool2d(x, 3, 2, 1, false),
        ["BatchNorm2d"] = (t, x) => F.BatchNorm2d(x, t.Weight("gamma", 3), t.Weight("beta", 3), t.Weight("mean", 3), t.Positive("variance", 3),
            false),
        ["Clamp"] = (_, x) => F.Clamp(x, -0.5f, 0.7f),
        ["ClassAttention"] = (t, x) => t.Tokens(x) is var rows
            ? F.TakeRows(F.KeepRows(rows, t.Shares(rows), KeepRule.Count(2), fuse: true), 3) : x,
        ["CodeBook"] = (t, x) => F.Conv2d(x, F.CodeBook(t.Weight("book", 4, 9), t.Codes("codes", 3, 6), [6, 3, 3, 3])),
        ["Concat"] = (_, x) => F.Concat(1, x, F.Mul(x, 2)),
        ["Conv2d"] = (t, x) => F.Conv2d(x, t.Weight("conv", 6, 3, 3, 3), t.Weight("bias", 6), 2, new Padding(1, 0, 1, 2)),
        ["Div"] = (t, x) => F.Div(x, t.Positive("w", 3, 1, 1)),
        ["Dropout"] = (_, x) => F.Dropout(x, 0.5f, new RandomStream(1), training: false),
        ["Element"] = (_, x) => F.Element(x, ElementFunction.Mish),
        ["EmbedTokens"] = (t, x) => F.Add(F.TakeRows(t.Embedded(x), -1), F.Linear(F.Flatten(x), t.Weight("linear", 9, 192))),
        ["Exp"] = (_, x) => F.Exp(x),
        ["Gelu"] = (_, x) => F.Gelu(x),
        ["GlobalAvgPool2d"] = (_, x) => F.GlobalAvgPool2d(x),
        ["GroupNorm"] = (t, x) => F.GroupNorm(F.Concat(1, x, F.Square(x)), t.Weight("gamma", 6), t.Weight("beta", 6), 2),
        ["IndexAdd"] = (t, x) => F.IndexAdd(x, t.Weight("shift", 3), t.List("list", 0, 2), F.Slice(x, 1, 1, 2)),
        ["IndexSelect"] = (t, x) => F.IndexSelect(x, t.List("list", 2, 0)),
        ["Interpolate"] = (_, x) => F.Interpolate(x, 5, 11, ResizeMode.Bilinear),
        ["KeepRows"] = (t, x) => t.Tokens(x) is var rows ? F.KeepRows(rows, F.RowDot(rows, F.TakeRows(rows, 0)), KeepRule.Count(2)) : x,
        ["LayerNorm"] = (t, x) => F.LayerNorm(t.Tokens(x), t.Weight("gain", Width), t.Weight("shift", Width), 1e-5f, Width + 3),
        ["Linear"] = (t, x) => F.Linear(t.Tokens(x), t.Weight("linear", 5, Width), t.Weight("linear.bias", 5)),
        ["Log"] = (_, x) => F.Log(F.Add(F.Square(x), 0.5f)),
        ["LogSoftmax"] = (_, x) => F.LogSoftmax(x),
        ["MapsToRows"] = (t, x) => F.Concat(3, F.RowsToMaps(F.MapsToRows(x, null, 2), 0, 1, 66), F.RowsToMaps(F.MapsToRows(
            F.Neg(x), F.Linear(F.TakeRows(t.Tokens(x), 0), t.Weight("first", 3, Width)), 1), 0, 1, 65)),
        ["MatMul"] = (_, x) => F.MatMul(F.Flatten(F.Slice(x, 1, 0, 1), 1, 2), F.Flatten(F.Slice(x, 1, 1, 1), 1, 2), transposeB: true),
        ["MatchRows"] = (t, x) => t.Tokens(x) is var rows
            ? F.TakeRows(F.MergeRows(rows, F.MatchRows(F.Mul(rows, rows), HeadLayout.Uniform(2, 4), 1), 1), 2, 2) : x,
        ["Max"] = (_, x) => F.Max(x, [2], keepDims: true),
        ["MaxPool2d"] = (_, x) => F.MaxPool2d(x, 3, 2, 1),
        ["Mean"] = (_, x) => F.Mean(x, 1, 3),
        ["MergeRows"] = (t, x) =>
        {
            Tensor rows = t.Tokens(x), plan = F.MatchRows(rows, HeadLayout.Uniform(1, 8), 2), sizes = F.Affine(plan, 0, 1);
            Tensor merged = F.MergeRows(rows, plan, 2, weights: sizes), left = F.MergeRows(sizes, plan, 2, mean: false);
            Tensor k = F.Linear(merged, t.Weight("k", 7, Width)), v = F.Linear(merged, t.Weight("v", 9, Width));
            return F.Attention(k, k, v, new HeadLayout([3, 4], [4, 5]), 0.5f, F.Log(left));
        },
        ["Mul"] = (_, x) => F.Mul(x, F.GlobalAvgPool2d(x) is var m ? F.Split(m, 1, -1, 1, 1) : x),
        ["Neg"] = (_, x) => F.Neg(x),
        ["Pad"] = (_, x) => F.Pad(x, [(1, 0), (0, 2)], 0.25f),
        ["Pair"] = (t, x) => F.Pair(x, t.Weight("w", 3, 1, 1), PairFunction.Max),
        ["PatchesToRows"] = (_, x) => F.PatchesToRows(x, 4),
        ["Permute"] = (_, x) => F.Permute(x, 0, 3, 1, 2),
        ["Pick"] = (t, x) => F.Pick(x, t.List("list", 5, -1, 5, 191, 0, 64), [2, 3], 0.5f),
        ["Pow"] = (_, x) => F.Pow(F.Add(F.Square(x), 0.5f), 1.5f),
        ["Quantise"] = (t, x) => F.Conv2d(x, F.Quantise(t.Weight("conv", 4, 3, 3, 3), t.Positive("scale", 4), null, -7, 7, axis: 0)),
        ["Relu"] = (_, x) => F.Relu(x),
        ["Repeat"] = (t, x) => F.Add(F.Repeat(t.Weight("token", 1, 3, 1, 8), x), x),
        ["Reshape"] = (_, x) => F.Split(x, 2, 2, -1),
        ["RowDot"] = (t, x) => t.Tokens(x) is var rows
            ? F.KeepRows(rows, F.RowDot(rows, F.TakeRows(rows, 0), F.Sum(F.TakeRows(rows, 1), 1)), KeepRule.AtLeast(-1e9f)) : x,
        ["RowMean"] = (t, x) => t.Tokens(x) is var rows ? F.TakeRows(F.Mul(F.RowMean(rows, 2), rows), 1, 3) : x,
        ["RowNorm"] = (t, x) => t.Tokens(x) is var rows
            ? F.TakeRows(F.KeepRows(rows, F.RowNorm(rows), KeepRule.Share(0.4), fuse: true), 3) : x,
        ["RowsToMaps"] = (t, x) => F.Conv2d(F.RowsToMaps(t.Tokens(x), 1, 2, 2), t.Weight("conv", 5, Width, 3, 3), null, 1, 1),
        ["SampleRows"] = (t, x) => t.Tokens(x) is var rows
            ? t.Attention(F.KeepRows(rows, F.Mul(F.SampleRows(F.Square(F.RowNorm(rows)), 3), F.RowNorm(rows)), KeepRule.Count(2))) : x,
        ["Sigmoid"] = (_, x) => F.Sigmoid(x),
        ["Silu"] = (_, x) => F.Silu(x),
        ["Slice"] = (_, x) => F.Slice(x, 3, 2, 3),
        ["Softmax"] = (_, x) => F.Softmax(x),
        ["Sqrt"] = (_, x) => F.Sqrt(F.Add(F.Square(x), 0.5f)),
        ["Square"] = (_, x) => F.Square(x),
        ["Sub"] = (t, x) => F.Sub(t.Weight("w", 3, 1, 1), x),
        ["Sum"] = (_, x) => F.Sum(x, [1], keepDims: true),
        ["TakeRows"] = (t, x) => F.TakeRows(t.Tokens(x), 1, 2),
        ["Tanh"] = (_, x) => F.Tanh(x),
        ["WeightStandardise"] = (t, x) => F.Conv2d(x, F.WeightStandardise(t.Weight("conv", 4, 3, 3, 3), WeightStandardisation.Google)),
        ["Where"] = (t, x) => F.Where(F.Pair(x, F.Mul(x, 0), PairFunction.Greater), F.Square(x), t.Weight("w", 3, 1, 1)),
    };

    public static TheoryData<string> Ops => [.. OpTable.Names];

    public void Dispose()
    {
        foreach (Tensor w in weights.Values) w.Dispose();
    }

    [Theory]
    [MemberData(nameof(Ops))]
    public void Through_every_reader(string name)
    {
        Assert.True(uses.ContainsKey(name), $"the op {name} has no line in this test");
        using (new Scope()) Forward(name, Images(2));       // makes the weights
        Graph graph = Graph.Trace(x => Forward(name, x), new Shape(2, 3, 8, 8), weights.Select(w => (w.Key, w.Value)));
        Assert.Contains(graph.Nodes, n => n.Op.Name == name);
        Graph read = FileNetwork.Read(FileNetwork.ToJson(graph), graph);
        foreach (var (weight, value) in read.Weights)
            if (value.Tensor.IsMeta) value.Tensor.Exchange(graph.Weights[weight].Tensor.Clone());
        using var session = new Session(graph);
        foreach (int batch in new[] { 1, 3 })
        {
            using var scope = new Scope();
            Tensor x = Images(batch);
            float[] expected = Forward(name, x).ToArray();
            Assert.Equal(expected, graph.Run(x).ToArray());
            Assert.Equal(expected, read.Run(x).ToArray());
            var actual = new float[batch * session.NumClasses];
            session.Run(x.Span, batch, actual);
            Close(expected, actual, 1e-4f);
        }
        Gradient(graph);
        using (var flow = DependencyGraph.Build(graph, Images(2)))
            Assert.Equal(graph.CostPerImage.MultiplyAdds, flow.MultiplyAdds());
    }

    /// <summary>Along one direction, against a central difference; where an op is not smooth the direction avoids its edges.</summary>
    private static void Gradient(Graph graph)
    {
        using var scope = new Scope();
        Tensor x = Images(2), direction = new(x.Shape);
        var rng = new Rng(3);
        Init.Normal(direction, 1, ref rng);
        x.RequiresGrad = true;
        double slope;
        float[] weights;
        using (var recording = new Recording())
        {
            Tensor y = graph.Run(x);
            weights = [.. Enumerable.Range(0, (int)y.Length).Select(_ => rng.NextNormal())];
            recording.Backward(F.Sum(F.Mul(y, Tensor.From(y.Shape, weights))));
            slope = Dot(x.Grad!, direction);
        }
        const float Step = 1e-3f;
        double difference = (At(Step) - At(-Step)) / (2 * Step);
        Assert.True(Math.Abs(slope - difference) <= 0.03 * Math.Max(1, Math.Abs(slope)), $"{slope} and {difference}");

        double At(float step)
        {
            Tensor y = graph.Run(F.Add(x, F.Mul(direction, step)));
            double sum = 0;
            for (int i = 0; i < weights.Length; i++) sum += (double)weights[i] * y.Span[i];
            return sum;
        }
    }

    /// <summary>The op on images [B, 3, 8, 8], flattened to [B, K].</summary>
    private Tensor Forward(string name, Tensor images)
    {
        Tensor y = uses[name](this, images);
        if (y.Rows is { } rows && rows.Rows != images.Shape[0]) y = F.TakeRows(y, 0);
        return y.Rank == 2 ? y : F.Flatten(y);
    }

    /// <summary>[B 5, 8].</summary>
    private Tensor Tokens(Tensor images) => F.AssembleTokens(
        F.Linear(F.PatchesToRows(images, 4), Weight("patch", Width, 48)), Weight("positions", 1, Patches + 1, Width),
        Weight("cls", 1, 1, Width));

    private Tensor Attention(Tensor x) => F.Attention(F.Linear(x, Weight("q", 7, Width)), F.Linear(x, Weight("k", 7, Width)),
        F.Linear(x, Weight("v", 9, Width)), new HeadLayout([3, 4], [4, 5]), 0.5f);

    /// <summary>Texts of eight words, the last of which ends them, behind causal attention.</summary>
    private Tensor Embedded(Tensor images)
    {
        Tensor first = F.Flatten(F.Slice(F.Slice(images, 1, 0, 1), 2, 0, 1));
        Tensor words = F.Add(F.Pair(first, F.Mul(first, 0), PairFunction.Greater), List("ends", 0, 0, 0, 0, 0, 0, 0, 2));
        Tensor rows = F.EmbedTokens(words, Weight("table", 4, Width), Weight("places", 8, Width));
        return F.Attention(F.Linear(rows, Weight("q", 7, Width)), F.Linear(rows, Weight("k", 7, Width)),
            F.Linear(rows, Weight("v", 9, Width)), new HeadLayout([3, 4], [4, 5]), 0.5f, mask: AttentionMask.Causal);
    }

    private Tensor Shares(Tensor x) => F.ClassAttention(
        F.Linear(F.TakeRows(x, 0), Weight("q", 7, Width)), F.Linear(x, Weight("k", 7, Width)), new HeadLayout([3, 4], [3, 4]), 0.5f);

    private static Tensor Images(int count)
    {
        var rng = new Rng(7, (ulong)count);
        var images = new Tensor(new Shape(count, 3, 8, 8));
        Init.Normal(images, 1, ref rng);
        // Away from the edges of the functions that have some.
        foreach (ref float v in images.Span)
            foreach (float edge in (ReadOnlySpan<float>)[0, -0.5f, 0.7f])
                if (MathF.Abs(v - edge) < 0.02f) v = edge + 0.03f;
        return images;
    }

    private Tensor Weight(string name, params int[] dims) => Made(name, dims, (t, rng) => Init.Normal(t, 0.5f, ref rng));

    private Tensor Positive(string name, params int[] dims) => Made(name, dims, (t, rng) => Init.Uniform(t, 0.5f, 2, ref rng));

    private Tensor List(string name, params int[] channels)
    {
        Tensor list = Made(name, [channels.Length], (t, _) =>
        {
            for (int i = 0; i < channels.Length; i++) t.Span[i] = channels[i];
        });
        list.RequiresGrad = false;
        return list;
    }

    private Tensor Codes(string name, params int[] dims)
    {
        Tensor codes = Made(name, dims, (t, _) =>
        {
            for (int i = 0; i < t.Length; i++) t.Span[i] = 3 * i % 4;
        });
        codes.RequiresGrad = false;
        return codes;
    }

    private Tensor Made(string name, int[] dims, Action<Tensor, Rng> fill)
    {
        if (weights.TryGetValue(name, out Tensor? there)) return there;
        Tensor w = Tensor.Parameter(new Shape(dims));
        fill(w, new Rng((ulong)name.Length, (ulong)name[0], (ulong)name[^1]));
        return weights[name] = w;
    }

    private static double Dot(Tensor a, Tensor b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++) sum += (double)a.Span[i] * b.Span[i];
        return sum;
    }

    private static void Close(float[] expected, float[] actual, float tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        float scale = tolerance * Math.Max(1, expected.Max(MathF.Abs));
        for (int i = 0; i < expected.Length; i++) Assert.True(MathF.Abs(expected[i] - actual[i]) <= scale, $"{i}: {expected[i]}, {actual[i]}");
    }
}
