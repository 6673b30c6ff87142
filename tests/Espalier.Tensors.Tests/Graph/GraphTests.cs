using Espalier.Tensors.Tests.Ops;

namespace Espalier.Tensors.Tests.Graphs;

/// <summary>Tracing, running, parts, edits and passes of graphs, on a small network of tokens and one of maps.</summary>
public class GraphTests
{
    private const int Width = 8, Tokens = 5;

    private readonly Dictionary<string, Tensor> weights = [];

    private Tensor Weight(string name, params int[] dims)
    {
        if (weights.TryGetValue(name, out Tensor? there)) return there;
        var rng = new Rng((ulong)name.Length, (ulong)name[0], (ulong)name[^1]);
        Tensor w = Tensor.Parameter(new Shape(dims));
        foreach (ref float v in w.Span) v = 0.5f * rng.NextNormal();
        return weights[name] = w;
    }

    /// <summary>[B, 2, 4, 4] -> [B, 3]: patches, one block with dropout, the class token's row, a head.</summary>
    private Tensor Vit(Tensor images, RandomStream stream)
    {
        Tensor rows = F.Linear(F.PatchesToRows(images, 2), Weight("patch.weight", Width, 8));
        Tensor x = F.AssembleTokens(rows, Weight("positions", 1, Tokens, Width), Weight("cls", 1, 1, Width));
        Tensor n = F.LayerNorm(x, Weight("block.norm.weight", Width), Weight("block.norm.bias", Width), 1e-6f);
        Tensor mixed = F.Attention(F.Linear(n, Weight("block.q.weight", Width, Width)), F.Linear(n, Weight("block.k.weight", Width, Width)),
            F.Linear(n, Weight("block.v.weight", Width, Width)), HeadLayout.Uniform(2, Width / 2), 0.5f);
        x = F.Add(F.Linear(mixed, Weight("block.out.weight", Width, Width), Weight("block.out.bias", Width)), x);
        Tensor hidden = F.Dropout(F.Gelu(F.Linear(x, Weight("block.fc1.weight", 12, Width))), 0.3f, stream, stream.Seed != 0);
        x = F.Add(x, F.Linear(hidden, Weight("block.fc2.weight", Width, 12)));
        return F.Linear(F.TakeRows(x, 0, 1), Weight("head.weight", 3, Width), Weight("head.bias", 3));
    }

    private Graph Traced(out RandomStream stream)
    {
        var masks = new RandomStream(0);
        stream = masks;
        using (new Scope()) Vit(Images(1), masks);     // makes the weights
        return Graph.Trace(x => Vit(x, masks), new Shape(2, 2, 4, 4), weights.Select(w => (w.Key, w.Value)));
    }

    private static Tensor Images(int count)
    {
        var rng = new Rng(7, (ulong)count);
        var t = new Tensor(new Shape(count, 2, 4, 4));
        foreach (ref float v in t.Span) v = rng.NextNormal();
        return t;
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(16)]
    public void ATracedGraphIsTheFunction(int images)
    {
        using var scope = new Scope();
        Graph graph = Traced(out RandomStream stream);
        Tensor x = Images(images);
        Assert.Equal(Vit(x, stream).ToArray(), graph.Run(x).ToArray());

        // In training, with the same seed, value and gradients are the same bits.
        float[][] direct = Gradients(() =>
        {
            stream.Restart(5);
            return Vit(x, stream);
        });
        float[][] replayed = Gradients(() =>
        {
            stream.Restart(5);
            return graph.Run(x, new RunContext(Training: true));
        });
        for (int i = 0; i < direct.Length; i++) Assert.Equal(direct[i], replayed[i]);
    }

    private float[][] Gradients(Func<Tensor> forward)
    {
        using var recording = new Recording();
        Tensor loss = F.Sum(F.Square(forward()));
        recording.Backward(loss);
        float[][] result = [[loss.Item()], .. weights.Values.Select(w => w.Grad!.ToArray())];
        foreach (Tensor w in weights.Values) w.ClearGrad();
        return result;
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void APreparedGraphGivesTheSameWithFewerRowsAndNodes(int images)
    {
        using var scope = new Scope();
        Graph graph = Traced(out RandomStream stream);
        Graph prepared = graph.Prepared(training: false);
        Assert.DoesNotContain(prepared.Nodes, n => n.Op is DropoutOp or AddOp or GeluOp);
        // All rows are needed for keys and values only.
        Assert.Equal(2, prepared.Nodes.Count(n => n.Op is LinearOp && n.Op.Output.Rows is { } rows && rows.Rows == 2 * Tokens));
        Tensor x = Images(images);
        Close(graph.Run(x).ToArray(), prepared.Run(x).ToArray());
        float[][] plain = Gradients(() => graph.Run(x)), fast = Gradients(() => prepared.Run(x));
        for (int i = 0; i < plain.Length; i++) Close(plain[i], fast[i]);
        // What is prepared is made again after an edit.
        Assert.Same(prepared, graph.Prepared(training: false));
        graph.SetDropout(0);
        Assert.NotSame(prepared, graph.Prepared(training: false));
        Assert.DoesNotContain(graph.Prepared(training: true).Nodes, n => n.Op is DropoutOp);
    }

    /// <summary>A linear layer takes one sum along; whatever is added behind that stays a sum, or goes into another layer.</summary>
    [Theory]
    [InlineData("a sum of three")]
    [InlineData("a sum behind a sum")]
    [InlineData("GELU of a sum")]
    [InlineData("low rank beside a weight")]
    public void APreparedGraphKeepsEverySummand(string shape)
    {
        using var scope = new Scope();
        Tensor Network(Tensor x)
        {
            Tensor rows = F.Linear(F.Flatten(x), Weight("first", Width, 32));
            Tensor a = F.Linear(rows, Weight("a", Width, Width), Weight("a bias", Width));
            Tensor B() => F.Linear(rows, Weight("b", Width, Width));
            return shape[0] switch
            {
                'a' when shape.EndsWith("three", StringComparison.Ordinal) => F.Add(F.Add(a, B()), rows),
                'a' => F.Add(F.Relu(rows), F.Add(a, F.Add(B(), rows))),
                'G' => F.Gelu(F.Add(a, B())),
                _ => F.Add(F.Add(a, F.Linear(F.Linear(rows, Weight("down", 2, Width)), Weight("up", Width, 2))), rows),
            };
        }
        using (new Scope()) Network(Images(1));
        Graph graph = Graph.Trace(Network, new Shape(2, 2, 4, 4), weights.Select(w => (w.Key, w.Value)));
        Tensor images = Images(3);
        foreach (bool training in new[] { false, true })
        {
            Graph prepared = graph.Prepared(training);
            Close(graph.Run(images).ToArray(), prepared.Run(images).ToArray());
            float[][] plain = Gradients(() => graph.Run(images)), fast = Gradients(() => prepared.Run(images));
            for (int i = 0; i < plain.Length; i++) Close(plain[i], fast[i]);
        }
    }

    /// <summary>A number of images that a reshape took from the example is seen when the graph is made.</summary>
    [Fact]
    public void AReshapeThatHoldsOnToTheExamplesImagesIsRefused()
    {
        using var scope = new Scope();
        Tensor Means(Tensor x) => F.Linear(F.Mean(F.Reshape(F.PatchesToRows(x, 2), x.Shape[0], 4, 8), 1), Weight("head", 3, 8));
        using (new Scope()) Means(Images(1));
        var e = Assert.Throws<ArgumentException>(() =>
            Graph.Trace(Means, new Shape(2, 2, 4, 4), weights.Select(w => (w.Key, w.Value))));
        Assert.Contains("images", e.Message);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ATrainingGraphJoinsABatchNormWithItsReluAndGivesTheSameBits(bool statisticsOfTheBatch)
    {
        using var scope = new Scope();
        Tensor mean = GradientCheck.Random(1, 2), variance = Tensor.From(new Shape(2), [0.5f, 2]);
        weights["mean"] = mean;
        weights["variance"] = variance;
        Tensor Network(Tensor t)
        {
            Tensor y = F.Relu(F.BatchNorm2d(t, Weight("scale", 2), Weight("shift", 2), mean, variance, training: false));
            // This one's result is read twice: its ReLU stays.
            Tensor z = F.BatchNorm2d(F.Mul(y, y), Weight("scale", 2), Weight("shift", 2), mean, variance, training: false);
            return F.Add(z, F.Relu(z));
        }
        using (new Scope()) Network(Images(1));
        Graph graph = Graph.Trace(Network, new Shape(2, 2, 4, 4), weights.Select(w => (w.Key, w.Value)));
        Graph prepared = graph.Prepared(training: true);
        Assert.Equal([true, false], prepared.Nodes.Select(n => n.Op).OfType<BatchNorm2dOp>().Select(n => n.Relu));
        Assert.Single(prepared.Nodes, n => n.Op is ReluOp);
        Assert.Equal(2, graph.Prepared(training: false).Nodes.Count(n => n.Op is ReluOp));

        weights.Remove("mean");
        weights.Remove("variance");
        Tensor x = Images(5);
        x.RequiresGrad = true;
        float[] before = [.. mean.Span, .. variance.Span];
        var run = new RunContext(Training: statisticsOfTheBatch);
        List<float[]> Results(Graph g)
        {
            before.AsSpan(0, 2).CopyTo(mean.Span);
            before.AsSpan(2, 2).CopyTo(variance.Span);
            List<float[]> all = [.. Gradients(() => g.Run(x, run)), x.Grad!.ToArray(), mean.ToArray(), variance.ToArray()];
            x.ClearGrad();
            return all;
        }
        Assert.Equal(Results(graph), Results(prepared));
    }

    [Fact]
    public void APartRunsAlone()
    {
        using var scope = new Scope();
        Graph graph = Traced(out _);
        GraphValue middle = graph.Nodes.First(n => n.Op is AddOp).Output;
        Graph front = graph.Between(graph.Inputs, [middle]), back = graph.Between([middle], graph.Outputs);
        Tensor x = Images(3);
        Assert.Equal(graph.Run(x).ToArray(), back.Run(front.Run(x)).ToArray());
        var error = Assert.Throws<ArgumentException>(() => graph.Between([graph.Nodes.First(n => n.Op is AttentionOp).Output], graph.Outputs));
        Assert.Contains("images", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void RowsThatAreDroppedAreGoneForWhatFollows()
    {
        using var scope = new Scope();
        Graph graph = Traced(out _);
        GraphValue middle = graph.Nodes.First(n => n.Op is AssembleTokensOp).Output;
        Tensor direction = Weight("agent.weight", Width, 1);
        graph.InsertAfter(middle, x => F.KeepRows(x, F.MatMul(x, direction), KeepRule.Count(2)), [("agent.weight", direction)]);
        Assert.Contains("agent.weight", graph.Weights.Keys);
        Tensor x = Images(3);
        int[] left = [];
        graph.Run([x], look: (value, t) =>
        {
            if (value.Producer!.Op is KeepRowsOp) left = [.. Enumerable.Range(0, 3).Select(t.Rows!.Length)];
        });
        Assert.Equal([3, 3, 3], left);
        // The run's own rule wins.
        Graph plain = Traced(out _);
        Assert.Equal(plain.Run(x).ToArray(), graph.Run(x, new RunContext(Keep: KeepRule.All)).ToArray());
        Assert.NotEqual(plain.Run(x).ToArray(), graph.Run(x).ToArray());
    }

    /// <summary>What reads the value comes behind the new ops, also where these read something that is made later.</summary>
    [Fact]
    public void ReadersMoveBehindWhatTheyRead()
    {
        using var scope = new Scope();
        Graph graph = Graph.Trace(x =>
        {
            Tensor first = F.Relu(x), second = F.Exp(first), third = F.Tanh(second);
            return F.Add(third, F.Exp(x));
        }, new Shape(2, 4), []);
        GraphValue relu = graph.Nodes[0].Output, later = graph.Nodes[3].Output;
        graph.InsertAfter(relu, [later], t => F.Add(t[0], t[1]));
        Tensor x = Images(3, 4);
        float[] expected = [.. x.ToArray().Select(v => MathF.Tanh(MathF.Exp(MathF.Max(0, v) + MathF.Exp(v))) + MathF.Exp(v))];
        float[] actual = graph.Run(x).ToArray();
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-5f);

        static Tensor Images(int count, int width)
        {
            var rng = new Rng(5);
            var t = new Tensor(new Shape(count, width));
            foreach (ref float v in t.Span) v = rng.NextFloat(-1, 1);
            return t;
        }
    }

    [Fact]
    public void ANodeIsReplacedOrLeftOut()
    {
        using var scope = new Scope();
        Graph graph = Traced(out _);
        Tensor x = Images(2);
        float[] before = graph.Run(x).ToArray();
        graph.Replace(graph.Nodes.Single(n => n.Op is GeluOp), t => F.Relu(t[0]));
        Assert.NotEqual(before, graph.Run(x).ToArray());
        Assert.DoesNotContain(graph.Nodes, n => n.Op is GeluOp);
        graph.Remove(graph.Nodes.Single(n => n.Op is ReluOp));
        Assert.DoesNotContain(graph.Nodes, n => n.Op is ReluOp);
        Assert.Throws<ArgumentException>(() => graph.Remove(graph.Nodes.Single(n => n.Op is PatchesToRowsOp)));
    }

    [Fact]
    public void ReshapesFollowTheirInput()
    {
        using var scope = new Scope();
        Graph graph = Graph.Trace(x =>
        {
            Tensor shuffled = F.Flatten(F.Transpose(F.Split(x, 1, 2, -1), 1, 2), 1, 2);
            return F.Reshape(F.Reshape(F.GlobalAvgPool2d(shuffled), shuffled.Shape[0], -1, 1, 1), shuffled.Shape[0], -1);
        }, new Shape(2, 6, 3, 3), []);
        Tensor x = GradientCheck.Random(3, 5, 6, 3, 3);
        Assert.Equal(new Shape(5, 6), graph.Run(x).Shape);
        // Fewer channels: the groups stay, what is in them shrinks.
        Tensor y = F.Split(GradientCheck.Random(3, 5, 4, 3, 3), 1, 2, -1);
        Assert.Equal(new Shape(5, 2, 2, 3, 3), y.Shape);
        Op join = graph.Nodes.Last(n => n.Op is ReshapeOp).Op.On([F.Reshape(GradientCheck.Random(1, 3, 4), 3, 4, 1, 1)]);
        Assert.Equal(new Shape(3, 4), join.Run().Shape);
    }

    [Fact]
    public void A_number_without_axes_gets_some()
    {
        using var scope = new Scope();
        Assert.Equal(new Shape(1, 1), F.Reshape(Tensor.Full(new Shape(), 3), new Shape(1, 1)).Shape);
    }

    [Fact]
    public void CostsComeWithoutRunning()
    {
        Graph graph = Traced(out _);
        long expected = 4 * 8 * Width + 4 * Tokens * Width * Width + 2 * Tokens * Tokens * Width + 2 * Tokens * Width * 12 + Width * 3;
        Assert.Equal(expected, graph.CostPerImage.MultiplyAdds);
        Assert.All(graph.Nodes, n => Assert.True(n.Output.Tensor.IsMeta));
    }

    private static void Close(float[] a, float[] b)
    {
        Assert.Equal(a.Length, b.Length);
        for (int i = 0; i < a.Length; i++) Assert.True(Math.Abs(a[i] - b[i]) <= 1e-4f * Math.Max(1, Math.Abs(a[i])), $"{i}: {a[i]} and {b[i]}");
    }
}
