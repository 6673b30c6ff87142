using Espalier.Compression;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tests.Inference;

/// <summary>Sessions of graphs that no preset makes.</summary>
[Collection("Workers")]
public sealed class SessionTests : IDisposable
{
    private readonly GraphNet net = new();
    private readonly int threads = Workers.Threads;

    public void Dispose() => Workers.Threads = threads;

    /// <summary>Blocks of different widths, the first of which may drop tokens.</summary>
    private Graph Transformer(KeepRule? rule = null) => net.Trace(images =>
    {
        Tensor x = net.Block(net.Embed(images, 24), "0", heads: 3, qk: 24, hidden: 40);
        if (rule is { } keep) x = F.KeepRows(x, net.Score(x, "agent"), keep);
        x = net.Block(x, "1", heads: 2, qk: 32, hidden: 17);
        return net.Classify(net.Block(x, "2", heads: 1, qk: 8, hidden: 50));
    }, 2, 3, 16, 16);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void ATransformerIsTheGraphsOwnRun(int count)
    {
        Workers.Threads = count;
        GraphNet.AssertSame(Transformer());
    }

    public static TheoryData<string> Rules => ["none", "all", "limit", "share", "count", "tokens"];

    private static KeepRule Rule(string name) => name switch
    {
        "limit" => KeepRule.AtLeast(-0.5f),
        "share" => KeepRule.Share(0.4),
        "count" => KeepRule.Count(3),
        "tokens" => KeepRule.Tokens([1, 5, 6, 11]),
        _ => KeepRule.All,
    };

    [Theory]
    [MemberData(nameof(Rules))]
    public void TokensAreDroppedByTheGraphsRuleOrTheRuns(string name)
    {
        Graph graph = name == "none" ? Transformer() : Transformer(Rule(name));
        GraphNet.AssertSame(graph);
        if (name == "none") return;

        using var session = new Session(Transformer(KeepRule.Count(1)));
        using var scope = new Scope();
        Tensor images = GraphNet.Noise(new Shape(6, 3, 16, 16));
        int[][] kept = [];
        float[] expected = graph.Run([images], look: (value, t) =>
        {
            if (value.Producer!.Op is KeepRowsOp)
                kept = [.. Enumerable.Range(0, 6).Select(b => t.Rows!.Tokens[t.Rows[b]..t.Rows[b + 1]].ToArray())];
        })[0].ToArray();
        var trace = new TokenTrace(indices: true);
        var actual = new float[expected.Length];
        session.Run(images.Span, 6, actual, Pruning.By(Rule(name)), trace);
        SessionModel.AssertClose(expected, actual);
        Assert.Equal(name == "all" ? 1 : 2, trace.Stages);
        for (int b = 0; b < 6; b++)
        {
            Assert.Equal(17, trace.Counts(b)[0]);
            if (name != "all") Assert.Equal(kept[b], trace.Kept(b, 1).ToArray());
        }
    }

    [Fact]
    public void AnImagesBitsDoNotDependOnHowTheWorkIsSpread()
    {
        using var session = new Session(Transformer(Rule("limit")));
        using var scope = new Scope();
        Tensor images = GraphNet.Noise(new Shape(37, 3, 16, 16));
        float[]? first = null;
        foreach (int count in (int[])[1, 2, 3, 5])
        {
            Workers.Threads = count;
            // Of the first two calls one gives chunks to threads, one shares the steps.
            for (int call = 0; call < 2; call++)
            {
                var logits = new float[37 * 5];
                session.Run(images.Span, 37, logits);
                Assert.Equal(first ??= logits, logits);
            }
        }
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 2)]
    [InlineData(9, 2)]
    public void AWarmRunAllocatesNothing(int batch, int count)
    {
        Workers.Threads = count;
        using var session = new Session(Transformer(Rule("share")));
        float[] images = new float[batch * 3 * 16 * 16], logits = new float[batch * 5];
        var trace = new TokenTrace(indices: true);
        Allocations.AssertNone(() => session.Run(images, batch, logits, trace));
    }

    [Theory]
    [InlineData(HybridStemVariant.Google, 64)]
    [InlineData(HybridStemVariant.Torch, 45)]
    public void AHybridsStemIsPlannedToo(HybridStemVariant variant, int size)
    {
        var rng = new Rng(3);
        using var stem = new HybridStem(variant, 3, ref rng, width: 8, depths: [1, 2, 1], groups: 4);
        SessionModel.Shuffle(stem);
        Graph graph = Graph.Trace(stem.Forward, new Shape(2, 3, size, size), stem.StateDict());
        GraphNet.AssertSame(graph);
        using var session = new Session(graph);
        float[] images = new float[2 * 3 * size * size], maps = new float[2 * (int)(graph.Outputs[0].Shape.Length / 2)];
        Allocations.AssertNone(() => session.Run(images, 2, maps));
    }

    public static TheoryData<string> Others =>
    [
        "exp", "power", "mean over odd axes", "product of two", "group norm", "softmax", "attention by hand", "resize",
        "gelu of maps",
        "flatten to rows", "split and join", "norm of slices", "relu between linear layers", "gate", "product with a matrix",
        "gelu and residual", "rows by hand", "scores to the end", "heads of their own widths", "causal", "causal to the end",
        "bias of pairs", "bias of pairs of tokens that are left", "linear behind linear",
    ];

    /// <summary>Ops without a form of their own run as they are.</summary>
    [Theory]
    [MemberData(nameof(Others))]
    public void WhateverAModuleDoes(string name) => GraphNet.AssertSame(net.Trace(x => Other(name, x), 2, 3, 8, 8));

    /// <summary>Two linear layers are one where that is less work, and stay two of low rank.</summary>
    [Theory]
    [InlineData(16, true)]
    [InlineData(64, true)]
    [InlineData(4, false)]
    public void LinearLayersAreJoined(int between, bool joined)
    {
        Graph two = net.Trace(x => net.Linear(net.Linear(F.TakeRows(net.Embed(x, 16), 0), "a", between), "b", 16), 2, 3, 8, 8);
        var alone = new GraphNet();
        Graph one = alone.Trace(x => alone.Linear(F.TakeRows(alone.Embed(x, 16), 0), "b", 16), 2, 3, 8, 8);
        using Session both = new(two), single = new(one);
        Assert.Equal(joined, both.WeightBytes == single.WeightBytes);
        GraphNet.AssertSame(two);
    }

    private Tensor Other(string name, Tensor x)
    {
        Tensor maps = F.Conv2d(x, net["conv.weight", 6, 3, 3, 3], net["conv.bias", 6], 1, 1);
        Tensor rows = net.Embed(x, 16), v = F.GlobalAvgPool2d(maps);
        int n = x.Shape[0];
        return name switch
        {
            "exp" => net.Linear(F.GlobalAvgPool2d(F.Exp(F.Mul(maps, 0.3f))), "head", 4),
            "power" => F.Add(F.Pow(F.Add(F.Square(maps), 1), 0.7f), maps),
            "mean over odd axes" => net.Linear(F.Mean(F.Mean(maps, [1, 3]), [1], keepDims: true), "head", 3),
            "product of two" => F.MatMul(F.Reshape(maps, n, 6, 64), F.Reshape(F.Tanh(maps), n, 6, 64), transposeB: true),
            "group norm" => F.Silu(F.GroupNorm(maps, net["gn.gain", 6], net["gn.bias", 6], 3)),
            "softmax" => F.Softmax(net.Linear(v, "head", 5)),
            "attention by hand" => ByHand(F.Transpose(F.Reshape(maps, n, 6, 64), 1, 2)),
            "resize" => F.Interpolate(maps, 5, 11, ResizeMode.Bilinear),
            "gelu of maps" => F.GlobalAvgPool2d(F.Gelu(maps)),
            "flatten to rows" => net.Linear(F.Flatten(maps), "head", 4),
            "split and join" => F.Flatten(F.Transpose(F.Split(maps, 1, 2, -1), 1, 2), 1, 2),
            "norm of slices" => net.Classify(F.Add(rows, net.Linear(F.Concat(1,
                net.Norm(F.Slice(net.Linear(rows, "a", 20), 1, 4, 7), "n"),
                F.Softmax(F.Slice(net.Linear(rows, "b", 9), 1, 1, 6)), F.Gelu(F.Slice(rows, 1, 3, 4))), "c", 16))),
            "relu between linear layers" =>
                net.Classify(F.Add(net.Linear(F.Relu(net.Linear(F.Silu(rows), "a", 11)), "b", 16), rows)),
            "linear behind linear" =>
                net.Classify(F.Add(rows, F.Mul(net.Linear(F.Mul(net.Linear(rows, "a", 16), 0.3f), "b", 16), 2))),
            "gate" => net.Classify(F.Mul(net.Linear(rows, "a", 16), F.Sigmoid(net.Linear(rows, "b", 16)))),
            "product with a matrix" => net.Classify(F.MatMul(F.MatMul(rows, net["m", 16, 5]), net["t", 16, 5], transposeB: true)),
            "gelu and residual" => net.Classify(F.Add(F.Gelu(net.Linear(rows, "a", 16)), rows)),
            "rows by hand" => F.Mean(F.Exp(F.Mul(F.Split(rows, 0, -1, 5), 0.2f)), [1]),
            "heads of their own widths" => net.Classify(Mixed(rows)),
            "causal" => net.Classify(F.Add(rows, Mixed(rows, AttentionMask.Causal))),
            "causal to the end" => net.Linear(Mixed(rows, AttentionMask.Causal), "head", 4),
            "bias of pairs" => net.Classify(F.Add(rows, Mixed(rows, AttentionMask.None, net["bias", 2, 5, 5]))),
            "bias of pairs of tokens that are left" => net.Classify(F.Add(Left(), Mixed(Left(), AttentionMask.None, net["bias", 2, 5, 5]))),
            "scores to the end" => net.Score(F.Reshape(F.Exp(F.Mul(rows, 0.1f)), rows.Shape[0], 16), "agent"),
            _ => throw new ArgumentException(name),
        };

        Tensor Left() => TokenList.Keep(rows, [2, 4], 1);
    }

    private Tensor Mixed(Tensor rows, AttentionMask mask = AttentionMask.None, Tensor? bias = null) => net.Linear(
        F.Attention(net.Linear(rows, "q", 9), net.Linear(rows, "k", 9), net.Linear(rows, "v", 7), new HeadLayout([4, 5], [6, 1]), 0.5f,
            bias, mask: mask), "out", 16);

    /// <summary>[n, T, D] -> [n, 3], three heads as an axis of images.</summary>
    private Tensor ByHand(Tensor x)
    {
        int n = x.Shape[0], t = x.Shape[1];
        Tensor Heads(string name) => F.Flatten(F.Transpose(F.Split(net.Linear(x, name, 6), 2, 3, 2), 1, 2), 0, 1);
        Tensor p = F.Softmax(F.MatMul(Heads("q"), Heads("k"), transposeB: true));                          // [n·3, T, T]
        Tensor mixed = F.Transpose(F.Split(F.MatMul(p, Heads("v")), 0, -1, 3), 1, 2);                       // [n, T, 3, 2]
        return net.Linear(F.Mean(F.Flatten(mixed, 2, 3), [1]), "head", 3);
    }

    [Theory]
    [InlineData("mean of images")]
    [InlineData("images last")]
    [InlineData("rows of other numbers")]
    public void ImagesThatWouldMixAreRefused(string name)
    {
        Graph graph = net.Trace(x => name switch
        {
            "mean of images" => F.Add(F.GlobalAvgPool2d(x), F.Mean(F.GlobalAvgPool2d(x), [0])),
            "images last" => F.Transpose(F.Transpose(F.GlobalAvgPool2d(x), 0, 1), 0, 1),
            _ => F.KeepRows(net.Embed(x, 8), net.Score(net.Embed(x, 8), "agent"), KeepRule.AtLeast(-0.5f)),
        }, 2, 3, 8, 8);
        string message = Assert.Throws<EspalierException>(() => new Session(graph)).Message;
        Assert.Contains("image", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData(Precision.Bf16, 0.03)]
    [InlineData(Precision.Int8, 0.05)]
    public void PrecisionIsThatOfTheBlocks(Precision precision, double tolerance)
    {
        if (KernelInfo.For(precision).Name is null) return;
        Graph graph = Transformer(Rule("count"));
        using Session full = new(graph), low = new(graph, new SessionOptions { Precision = precision });
        using var scope = new Scope();
        Tensor images = GraphNet.Noise(new Shape(8, 3, 16, 16));
        float[] expected = new float[40], actual = new float[40];
        full.Run(images.Span, 8, expected, Pruning.None);
        low.Run(images.Span, 8, actual, Pruning.None);
        SessionModel.AssertClose(expected, actual, tolerance);
        Assert.NotEqual(expected, actual);
        Assert.True(low.WeightBytes < 0.9 * full.WeightBytes, $"{low.WeightBytes} of {full.WeightBytes}");
        // Which rows stay is decided in float32, on what the first block gives.
        TokenTrace before = new(indices: true), after = new(indices: true);
        full.Run(images.Span, 8, expected, before);
        low.Run(images.Span, 8, actual, after);
        Assert.True(Enumerable.Range(0, 8).Count(b => before.Kept(b, 1).SequenceEqual(after.Kept(b, 1))) >= 4);
        Graph maps = net.Trace(x => F.Conv2d(x, net["conv.weight", 6, 3, 3, 3], null, 1, 1), 2, 3, 8, 8);
        Assert.Throws<EspalierException>(() => new Session(maps, new SessionOptions { Precision = precision }));
    }

    [Fact]
    public void WeightsAreReadOneByOne()
    {
        Graph graph = Transformer(Rule("limit"));
        Dictionary<string, float[]> values = graph.Weights.ToDictionary(w => w.Key, w => w.Value.Tensor.ToArray());
        // The same function on weights that are shapes.
        Dictionary<string, Tensor> shapes = graph.Weights.ToDictionary(w => w.Key, w => Tensor.Meta(w.Value.Shape));
        var empty = new GraphNet();
        foreach (var (name, shape) in shapes) empty.Set(name, shape);
        Graph outline = Graph.Trace(images =>
        {
            Tensor x = empty.Block(empty.Embed(images, 24), "0", heads: 3, qk: 24, hidden: 40);
            x = F.KeepRows(x, empty.Score(x, "agent"), Rule("limit"));
            x = empty.Block(x, "1", heads: 2, qk: 32, hidden: 17);
            return empty.Classify(empty.Block(x, "2", heads: 1, qk: 8, hidden: 50));
        }, new Shape(2, 3, 16, 16), shapes.Select(s => (s.Key, s.Value)));
        using Session expected = new(graph), actual = new(outline, null, (weight, target) => values[weight.Name].CopyTo(target));
        float[] images = new float[2 * 3 * 16 * 16], a = new float[10], b = new float[10];
        for (int i = 0; i < images.Length; i++) images[i] = MathF.Sin(i);
        expected.Run(images, 2, a);
        actual.Run(images, 2, b);
        Assert.Equal(a, b);
        Assert.Throws<ArgumentException>(() => new Session(outline));
    }

    [Fact]
    public void SeveralOutputsFollowOneAnother()
    {
        var net = this.net;
        using (var scope = new Scope()) net.Classify(net.Embed(Tensor.Zeros(new Shape(2, 3, 8, 8)), 8));
        Graph graph = Graph.Trace(x =>
        {
            Tensor maps = F.Relu(F.Conv2d(x[0], net["conv.weight", 4, 3, 3, 3], null, 2, 1));
            return [F.GlobalAvgPool2d(maps), maps, net.Classify(net.Embed(x[0], 8))];
        }, [("images", Tensor.Meta(new Shape(2, 3, 8, 8)))], []);
        using var session = new Session(graph);
        using var inner = new Scope();
        Tensor images = GraphNet.Noise(new Shape(5, 3, 8, 8));
        float[] expected = [.. graph.Run([images]).SelectMany(t => t.ToArray())], actual = new float[expected.Length];
        session.Run(images.Span, 5, actual);
        SessionModel.AssertClose(expected, actual);
        Assert.Equal(4, session.NumClasses);
    }

    [Fact]
    public void CostsFollowTheTokens()
    {
        using var session = new Session(Transformer(Rule("limit")));
        long first = 16 * 48 * 24 + 4 * 17 * 24 * 24 + 2 * 17 * 17 * 24 + 2 * 17 * 24 * 40;
        long Second(long n) => n * 24 * (4 * 32 + 2 * 17 + 4 * 8 + 2 * 50) + 2 * n * n * (32 + 8) + 24 * 5;
        Assert.Equal(first + Second(17), (long)session.DenseMultiplyAdds);
        Assert.Equal(first + Second(17), session.MultiplyAdds([17]));
        Assert.Equal(first + Second(6) + 24 * 24 + 24 + 17 * 24, session.MultiplyAdds([17, 6]));
        Assert.Equal([0], session.AgentLayers);
        Assert.Equal("threshold 0.5", session.Pruning.ToString());
        Assert.Throws<ArgumentException>(() => session.MultiplyAdds([17, 6, 5]));
    }

    [Fact]
    public void WrongCallsAreRefused()
    {
        using var session = new Session(Transformer());
        Assert.Equal((3, 16, 5), (session.Channels, session.ImageSize, session.NumClasses));
        Assert.Throws<ArgumentException>(() => session.Run(new float[3], 1, new float[5]));
        Assert.Throws<ArgumentException>(() => session.Run(new float[3 * 16 * 16], 1, new float[6]));
        Assert.Throws<EspalierException>(() => session.Run(new float[3 * 16 * 16], 1, new float[5], Pruning.KeepShare(0.5)));
        var pruned = new SessionOptions { Pruning = Pruning.Threshold(0.5f) };
        Assert.Throws<EspalierException>(() => new Session(Transformer(), pruned));
        session.Run([], 0, []);
    }
}
