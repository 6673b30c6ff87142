using Espalier.Compression;
using Espalier.Compression.Methods.PatchSlimming;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Method = Espalier.Compression.Methods.PatchSlimming.PatchSlimming;

namespace Espalier.Tests.Compression.Methods.PatchSlimming;

/// <summary>Patch slimming: significance by hand and by all paths, published costs, and a search with its invariants.</summary>
[Collection("Workers")]
public sealed class PatchSlimmingTests
{
    [Fact]
    public void SignificanceOfTwoTokens()
    {
        var later = new Attended([[0.75, 0.25]], 1, 2);
        var own = new Attended([[0.6, 0.4, 0.2, 0.8]], 2, 2);
        double[] s = Significance.Of([later], own, [1, -2, 3, 0], sameHead: false);
        Assert.Equal(2.6325, s[0], 1e-12);
        Assert.Equal(0.4325, s[1], 1e-12);
    }

    [Fact]
    public void DownstreamIsTheMeanOverAllPaths()
    {
        var rng = new Rng(3);
        Attended first = Random(ref rng, 3, 5), second = Random(ref rng, 2, 3);
        double[] paths = new double[5];
        foreach (double[] a in first.Heads)
        {
            foreach (double[] b in second.Heads)
            {
                for (int i = 0; i < 5; i++)
                {
                    for (int r = 0; r < 2; r++)
                    {
                        double product = 0;
                        for (int m = 0; m < 3; m++) product += b[r * 3 + m] * a[m * 5 + i];
                        paths[i] += product * product / 4;
                    }
                }
            }
        }
        double[] all = Significance.Downstream([first, second], sameHead: false)[0];
        for (int i = 0; i < 5; i++) Assert.Equal(paths[i], all[i], 1e-15);
        // One head all the way is another thing.
        double[][] same = Significance.Downstream([first, second], sameHead: true);
        Assert.Equal(2, same.Length);
        double ratio = (same[0][0] + same[1][0]) / all[0];
        Assert.Contains(Enumerable.Range(1, 4), i => Math.Abs((same[0][i] + same[1][i]) / all[i] - ratio) > 1e-3);
    }

    /// <summary>Paths that keep to one head rank tokens in another order than all paths do.</summary>
    [Fact]
    public void OneHeadAllTheWayRanksOtherwise()
    {
        var later = new Attended([[0.1, 0.2, 0.1, 0.6], [0.3, 0.2, 0.1, 0.4]], 1, 4);
        // The first head looks at the token itself, the second at that from the other end.
        double[] itself = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
        var own = new Attended([itself, [.. itself.Chunk(4).Reverse().SelectMany(row => row)]], 4, 4);
        Assert.Equal([3, 1, 0, 2], Ranking([3.25, 5.8, 1.45, 16.9], sameHead: false));
        Assert.Equal([3, 1, 2, 0], Ranking([0.73, 5.8, 1.45, 10.6], sameHead: true));

        int[] Ranking(double[] expected, bool sameHead)
        {
            double[] scores = Significance.Of([later], own, [8, -8, 9, 1], sameHead);
            for (int i = 0; i < 4; i++) Assert.Equal(expected[i], scores[i], 1e-12);
            return [.. Enumerable.Range(0, 4).OrderByDescending(i => scores[i])];
        }
    }

    [Fact]
    public void CostsWhatIsPublished()
    {
        Graph graph = TokenNets.Shapes(224, 16, 384, 12, 6);
        Assert.Equal(4.5989, TokenNets.Giga(graph), 5e-5);
        Method.Apply(graph, [.. Enumerable.Repeat(Enumerable.Range(1, 196).ToArray(), 11), []]);
        Assert.Equal(4.2802, TokenNets.Giga(graph), 5e-5);
        Graph narrow = TokenNets.Shapes(224, 16, 384, 12, 6);
        long whole = narrow.CostPerImage.MultiplyAdds;
        Method.Apply(narrow, [.. Enumerable.Repeat(Enumerable.Range(1, 196).ToArray(), 10), Enumerable.Range(1, 49).ToArray(),
            []]);
        // The block before the last has 197 inputs and 50 outputs, the last one 50 and 1.
        long next = 2 * 384L * 384 * (50 + 197) + 2 * 50 * 197 * 384 + 2 * 50 * 384 * 1536;
        Assert.Equal(whole - 2 * 378_391_296L + next + 16_258_560, narrow.CostPerImage.MultiplyAdds);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ACutBlockGivesTheRowsThatItKeeps(bool distilled)
    {
        using Model model = TokenNets.Vit(distilled);
        using var scope = new Scope();
        Tensor images = TokenNets.Images(3);
        float[] expected = model.Graph.Run(images).ToArray();
        Method.Apply(model.Graph, [.. Enumerable.Repeat(Enumerable.Range(distilled ? 2 : 1, 16).ToArray(), 3), []]);
        Close(expected, model.Graph.Run(images).ToArray());

        // The first block's rows are those of the whole network.
        using Model whole = TokenNets.Vit(distilled), cut = TokenNets.Vit(distilled);
        Method.Apply(cut.Graph, [[3, 7, 8, 15], [7, 8], [8], []]);
        TransformerBlocks blocks = TransformerBlocks.Of(cut.Graph);
        Assert.Equal(distilled ? [6, 4, 3, 2] : [5, 3, 2, 1], TokenNets.Tokens(cut.Graph));
        Tensor all = whole.Graph.Between(whole.Graph.Inputs, [TransformerBlocks.Of(whole.Graph).Blocks[0].Output]).Run(images);
        Tensor some = cut.Graph.Between(cut.Graph.Inputs, [blocks.Blocks[0].Output]).Run(images);
        int prefix = distilled ? 2 : 1;
        int[] rows = [.. Enumerable.Range(0, prefix), 3, 7, 8, 15];
        for (int b = 0; b < 3; b++)
            for (int i = 0; i < rows.Length; i++)
                Close(all.Span.Slice((all.Rows![b] + rows[i]) * 24, 24).ToArray(), some.Span.Slice((b * rows.Length + i) * 24,
                    24).ToArray());
        TokenNets.CheckReaders(cut);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void CutIsTheSameAsNotSeen(bool distilled)
    {
        using Model model = TokenNets.Vit(distilled);
        using var scope = new Scope();
        Tensor images = TokenNets.Images(3);
        float[] whole = model.Graph.Run(images).ToArray();
        Assert.InRange(Method.CutAndCompare(model.Graph, [[3, 7, 8, 15], [7, 8], [8], []], images), 0, 1e-5f);
        Assert.True(Removal.Difference(whole, model.Graph.Run(images).Span) > 1e-2f);
    }

    [Fact]
    public void TheSearchKeepsWhatLaterBlocksKeep()
    {
        Assert.All(Search(double.PositiveInfinity), Assert.Empty);
        Assert.All(Search(0)[..^1], k => Assert.Equal(16, k.Length));
        var log = new List<string>();
        int[][] kept = Search(0.02, log);
        Assert.Empty(kept[^1]);
        Assert.InRange(kept[0].Length, 1, 16);
        for (int i = 1; i < kept.Length; i++) Assert.Subset(kept[i - 1].ToHashSet(), kept[i].ToHashSet());
        // Candidates grow by three.
        int before = -1;
        foreach (string line in log.Where(l => l.StartsWith("block 2", StringComparison.Ordinal)))
        {
            int count = int.Parse(line.Split(' ')[2], System.Globalization.CultureInfo.InvariantCulture);
            Assert.Equal(before < 0 ? 0 : Math.Min(16, before + 3), count);
            before = count;
        }
    }

    /// <summary>Ten more at a time of a block's 49 until its error is small enough: where less is allowed, what was kept before
    /// stays kept.</summary>
    [Fact]
    public void CandidatesGrowByTen()
    {
        HashSet<int> before = [];
        foreach (double epsilon in (double[])[1e9, 0.1, 0.01, 0.001, 0])
        {
            VitConfig config = TokenNets.Small with { ImageSize = 28, NumLayers = 3 };
            using Model model = Model.FromModule(new VisionTransformer(config, 7));
            using var scope = new Scope();
            var images = new Tensor(new Shape(2, 1, 28, 28));
            var rng = new Rng(5);
            Init.Normal(images, 1, ref rng);
            var log = new List<string>();
            int[][] kept = [.. new Method { Epsilon = epsilon, TuneSteps = 0 }.Search(model.Graph, () => [images], log.Add)];
            for (int t = 1; t >= 0; t--)
            {
                int first = kept[t + 1].Length, last = kept[t].Length;
                int[] counts = [.. log.Where(l => l.StartsWith($"block {t}:", StringComparison.Ordinal)).Select(Positions)];
                IEnumerable<int> grown = Enumerable.Range(0, 6).Select(r => Math.Min(first + 10 * r, 49));
                Assert.Equal([.. grown.TakeWhile(n => n < last), last], counts);
                Assert.Superset(kept[t + 1].ToHashSet(), kept[t].ToHashSet());
            }
            Assert.Superset(before, kept[1].ToHashSet());
            before = [.. kept[1]];
        }
        Assert.Equal(49, before.Count);

        static int Positions(string line) => int.Parse(line.Split(' ')[2], System.Globalization.CultureInfo.InvariantCulture);
    }

    [Fact]
    public void TuningChangesTheBlockAloneAndBringsItNearer()
    {
        using Model model = TokenNets.Vit(), fresh = TokenNets.Vit();
        using var scope = new Scope();
        int[] all = [.. Enumerable.Range(1, 16)];
        int[][] kept = [all, all, [4, 9], []];
        using var original = new Original(model.Graph);
        var pair = new BlockPair(original, model.Graph, kept, 2);
        double before = pair.Error([TokenNets.Images(4)]);
        pair.Tune(() => [TokenNets.Images(4)], 20, 1e-3f, 1);
        Assert.InRange(pair.Error([TokenNets.Images(4)]), 0, 0.9 * before);
        foreach (var (name, value) in model.Graph.Parameters)
        {
            bool same = value.ToArray().SequenceEqual(fresh.Graph[name].Tensor.ToArray());
            Assert.True(same != name.Contains("layer.2.", StringComparison.Ordinal), name);
            Assert.True(value.RequiresGrad && value.Grad is null);
        }
    }

    /// <summary>Blocks that need all positions are what they were, whatever was tuned for fewer.</summary>
    [Fact]
    public void KeepingAllForgetsTheTuning()
    {
        using Model model = TokenNets.Vit(), fresh = TokenNets.Vit();
        using var scope = new Scope();
        IReadOnlyList<int[]> kept = new Method { Epsilon = 0, TuneSteps = 2, TuneRate = 1e-3, Step = 8 }
            .Search(model.Graph, () => [TokenNets.Images(4)]);
        Assert.All(kept.SkipLast(1), k => Assert.Equal(16, k.Length));
        foreach (var (name, value) in model.Graph.Parameters) Assert.Equal(fresh.Graph[name].Tensor.ToArray(), value.ToArray());
    }

    [Fact]
    public void RefusesOtherNetworks()
    {
        using Model model = TokenNets.Vit();
        model.Graph.InsertAfter(TransformerBlocks.Of(model.Graph).Blocks[0].Output, x =>
            F.KeepRows(x, F.RowNorm(x), KeepRule.Count(4)));
        Assert.Contains("drops tokens already", Assert.Throws<EspalierException>(() =>
            Method.Apply(model.Graph, [[], [], [], []])).Message);
        using var cnn = Model.Create("resnet20");
        Assert.Throws<EspalierException>(() => Method.Apply(cnn.Graph, []));
    }

    [Fact]
    public void RefusesWhatItCannotGoBy()
    {
        using Model model = TokenNets.Vit(classes: 10), biased = TokenNets.Vit();
        CompressionJob job = CompressionJobs.Job(model, new Method { Training = new() { TrainOnly = ["head"] } });
        Assert.Contains("leave TrainOnly out", Assert.Throws<EspalierException>(job.Run).Message);
        GraphNode first = biased.Graph.Nodes.First(n => n.Op is AttentionOp);
        var op = (AttentionOp)first.Op;
        biased.Graph.Replace(first, t => F.Attention(t[0], t[1], t[2], op.Heads, op.Scale, F.Sum(t[0], 1)));
        Assert.Contains("attention with a bias",
            Assert.Throws<EspalierException>(() => new Method().Search(biased.Graph, () => [])).Message);
    }

    private static int[][] Search(double epsilon, List<string>? log = null)
    {
        using Model model = TokenNets.Vit();
        using var scope = new Scope();
        var method = new Method { Epsilon = epsilon, Step = 3, TuneSteps = 0 };
        return [.. method.Search(model.Graph, () => [TokenNets.Images(4)], log is null ? null : log.Add)];
    }

    private static Attended Random(ref Rng rng, int outputs, int inputs)
    {
        double[][] heads = [new double[outputs * inputs], new double[outputs * inputs]];
        foreach (double[] head in heads) for (int i = 0; i < head.Length; i++) head[i] = rng.NextDouble();
        return new Attended(heads, outputs, inputs);
    }

    private static void Close(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 2e-5f);
    }
}
