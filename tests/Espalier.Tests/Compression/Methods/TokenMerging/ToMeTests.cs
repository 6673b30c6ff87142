using Espalier.Compression;
using Espalier.Compression.Methods.TokenMerging;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods.TokenMerging;

/// <summary>Token merging: the paper's counts and costs, PyTorch's tokens and logits, and what it leaves of a network.</summary>
[Collection("Workers")]
public sealed class ToMeTests
{
    [Theory]
    [InlineData("plain")]
    [InlineData("distilled")]
    public void IsWhatPyTorchGives(string network)
    {
        var golden = new TokenGolden(network);
        golden.Check("whole", new ToMe { Merge = 0 }.Apply, IsSizes, (t, row) => t.Span[row]);
        golden.Check("tome", new ToMe { Merge = 3 }.Apply, IsSizes, (t, row) => t.Span[row]);
        golden.Check("tomePlain", new ToMe { Merge = 2, Proportional = false }.Apply, IsSizes, (t, row) => t.Span[row]);
        golden.Check("tomeFalling", new ToMe { Merge = 3, Inflection = -1 }.Apply, IsSizes, (t, row) => t.Span[row]);
    }

    [Fact]
    public void MergesAsManyAsPublished()
    {
        Assert.Equal([184, 171, 158, 145, 132, 119, 106, 93, 80, 67, 54, 41], Merged(224, 16, 384, 12, 6, 13, 2.7027));
        Assert.Equal([37, 21, 11], Merged(224, 16, 768, 12, 12, 16, 8.7718)[^3..]);
        Merged(224, 16, 768, 12, 12, 13, 10.3670);
        Merged(224, 16, 192, 12, 3, 13, 0.7312);
        Merged(224, 16, 1024, 24, 16, 7, 34.710);
        Assert.Equal([13, 7], Merged(224, 16, 1024, 24, 16, 8, 30.963)[^2..]);
        Assert.Equal([40, 33], Merged(224, 14, 1280, 32, 16, 7, 92.835)[^2..]);
        Assert.Equal([48, 25], Merged(384, 16, 1024, 24, 16, 23, 96.241)[^2..]);
        Assert.Equal([16, 14, 13, 11, 10, 8, 7, 5, 4, 2, 1, 0], ToMe.Counts(8, -1, 12));
        Assert.Equal(0, ToMe.Counts(8, 1, 12)[0]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AllReadersOfItsGraphAgree(bool distilled)
    {
        using Model model = TokenNets.Vit(distilled);
        new ToMe { Merge = 3 }.Apply(model.Graph);
        Assert.Equal(distilled ? [15, 12, 9, 6] : [14, 11, 8, 5], TokenNets.Tokens(model.Graph));
        TokenNets.CheckReaders(model);
    }

    /// <summary>A patch that two became counts twice in the mean of all.</summary>
    [Theory]
    [InlineData(VitPool.Mean)]
    [InlineData(VitPool.ClassAndMean)]
    public void AMeanCountsATokenAsOftenAsItHasPatches(VitPool pool)
    {
        using var scope = new Scope();
        using Model model = TokenNets.Vit(form: new VitForm { Pool = pool });
        new ToMe { Merge = 3, Proportional = false }.Apply(model.Graph);
        GraphNode mean = model.Graph.Nodes.Single(n => n.Op is RowMeanOp && n.Output.Shape[1] > 1);
        float[] sizes = [], normed = [], pooled = [];
        RowSet rows = RowSet.Uniform(1, 1);
        model.Graph.Run([TokenNets.Images(2)], look: (value, t) =>
        {
            if (IsSizes(value)) sizes = t.ToArray();
            if (value.Producer!.Op is LayerNormOp) (normed, rows) = (t.ToArray(), t.Rows!);
            if (value.Producer == mean) pooled = t.ToArray();
        });
        int width = TokenNets.Small.HiddenSize;
        Assert.True(sizes.Max() > 1);
        for (int b = 0; b < 2; b++)
        {
            int[] patches = [.. Enumerable.Range(rows[b] + 1, rows.Length(b) - 1)];
            Assert.Equal(16f, patches.Sum(row => sizes[row]));
            for (int d = 0; d < width; d++)
                Assert.Equal(patches.Sum(row => sizes[row] * normed[row * width + d]) / 16, pooled[rows[b] * width + d], 1e-4f);
        }
    }

    [Theory]
    [InlineData(VitPool.Mean, true)]
    [InlineData(VitPool.ClassAndMean, false)]
    [InlineData(VitPool.Attention, true)]
    [InlineData(VitPool.Attention, false)]
    public void HeadsThatPoolReadWhatIsMerged(VitPool pool, bool proportional)
    {
        using var scope = new Scope();
        using Model model = TokenNets.Vit(form: new VitForm { Pool = pool, ClassToken = pool != VitPool.Attention });
        Graph whole = model.Graph.Copy();
        new ToMe { Merge = 3, Proportional = proportional }.Apply(model.Graph);
        Assert.InRange(HiddenTokens.Difference(whole, model.Graph, TokenNets.Images(3)), 0, 1e-4f);
        TokenNets.CheckReaders(model);
    }

    [Fact]
    public void AHeadThatCannotCountPatchesIsRefused()
    {
        using Model model = TokenNets.Vit();
        GraphValue last = TransformerBlocks.Of(model.Graph).Blocks[^1].Output;
        model.Graph.AddOutput(model.Graph.Add([last], t => F.Max(F.Split(t[0], 0, -1, 17), 1)));
        int nodes = model.Graph.Nodes.Count;
        Assert.Contains("cannot count how many each merged token stands for",
            Assert.Throws<EspalierException>(() => new ToMe { Merge = 3 }.Apply(model.Graph)).Message);
        Assert.Equal(nodes, model.Graph.Nodes.Count);
    }

    [Fact]
    public void MeetsATargetWithAsFewMergesAsItCan()
    {
        Graph graph = TokenNets.Shapes(224, 16, 384, 12, 6);
        long whole = graph.CostPerImage.MultiplyAdds;
        new ToMe { TargetFlops = 0.6 }.Apply(graph);
        Assert.InRange((double)graph.CostPerImage.MultiplyAdds / whole, 0.56, 0.6);
        int r = graph.Nodes.Select(n => n.Op).OfType<MatchRowsOp>().First().Count;
        Graph milder = TokenNets.Shapes(224, 16, 384, 12, 6);
        new ToMe { Merge = r - 1 }.Apply(milder);
        Assert.True(milder.CostPerImage.MultiplyAdds > 0.6 * whole);
    }

    [Fact]
    public void TheLastBlockOfASessionMergesNothing()
    {
        using Model model = TokenNets.Vit();
        new ToMe { Merge = 3 }.Apply(model.Graph);
        Assert.Equal(7, model.Graph.Nodes.Count(n => n.Op is MergeRowsOp));
        Assert.Equal(6, model.Graph.Prepared(training: false).Nodes.Count(n => n.Op is MergeRowsOp));
    }

    [Fact]
    public void RefusesWhatWouldLoseSizes()
    {
        using Model model = TokenNets.Vit();
        new ToMe { Merge = 2 }.Apply(model.Graph);
        Assert.Contains("merges tokens already", Assert.Throws<EspalierException>(() =>
            new ToMe { Merge = 2 }.Apply(model.Graph)).Message);
        using Model dropping = TokenNets.Vit();
        dropping.Graph.InsertAfter(TransformerBlocks.Of(dropping.Graph).Blocks[0].Output, x =>
            F.KeepRows(x, F.RowNorm(x), KeepRule.Count(4)));
        Assert.Contains("drops tokens", Assert.Throws<EspalierException>(() =>
            new ToMe { Merge = 2 }.Apply(dropping.Graph)).Message);
        Assert.Contains("at the least", Assert.Throws<EspalierException>(
            () => new ToMe { TargetFlops = 0.05 }.Apply(TokenNets.Shapes(224, 16, 384, 12, 6))).Message);
    }

    private static int[] Merged(int size, int patch, int width, int blocks, int heads, int r, double giga)
    {
        Graph graph = TokenNets.Shapes(size, patch, width, blocks, heads);
        new ToMe { Merge = r }.Apply(graph);
        Assert.Equal(giga, TokenNets.Giga(graph), giga < 10 ? 1e-4 : 1e-3);
        return TokenNets.Tokens(graph);
    }

    private static bool IsSizes(GraphValue value) => value.Producer!.Op is MergeRowsOp { Mean: false };
}
