using Espalier.Compression;
using Espalier.Tensors;
using Method = Espalier.Compression.Methods.RandomTokens.RandomTokens;

namespace Espalier.Tests.Compression.Methods.RandomTokens;

/// <summary>Tokens kept by chance: the same of every image, fewer at each stage, others with another seed.</summary>
[Collection("Workers")]
public sealed class RandomTokensTests
{
    [Fact]
    public void KeepsTheSameTokensOfEveryImage()
    {
        using Model model = TokenNets.Vit();
        new Method { Keep = 0.6 }.Apply(model.Graph);
        int[][] lists = Lists(model.Graph);
        // Of 16 patches.
        Assert.Equal([10, 6, 4], lists.Select(l => l.Length));
        Assert.All(lists, l => Assert.DoesNotContain(0, l));
        for (int i = 1; i < lists.Length; i++) Assert.Subset(lists[i - 1].ToHashSet(), lists[i].ToHashSet());
        Assert.Equal([17, 11, 7, 5], TokenNets.Tokens(model.Graph));
        TokenNets.CheckReaders(model);
        using Model other = TokenNets.Vit(), same = TokenNets.Vit();
        new Method { Keep = 0.6, Seed = 8 }.Apply(other.Graph);
        new Method { Keep = 0.6 }.Apply(same.Graph);
        Assert.NotEqual(lists, Lists(other.Graph));
        Assert.Equal(lists, Lists(same.Graph));
    }

    /// <summary>Which tokens are left there only a run knows: numbers of places would be taken for numbers of tokens.</summary>
    [Theory]
    [InlineData("topk")]
    [InlineData("evit")]
    public void DoesNotDrawFromTokensThatImagesChoose(string first)
    {
        using Model model = TokenNets.Vit();
        var ranking = (TokenMethod)CompressionMethods.Get(first).Set("keep", "0.5").Set("blocks", "0");
        var random = new Method { Keep = 0.5, Blocks = [2] };
        ranking.Apply(model.Graph);
        int nodes = model.Graph.Nodes.Count;
        Assert.Contains("random-tokens cannot follow that, as it draws the same tokens of every image",
            Assert.Throws<EspalierException>(() => random.Apply(model.Graph)).Message);
        Assert.Equal(nodes, model.Graph.Nodes.Count);
        Assert.Contains(CompressionOrder.CannotFollow(ranking), m => m.Name == random.Name);

        using Model agents = TokenNets.Vit();
        TokenAgents.Add(agents, [0]);
        agents.SetKeepRule(KeepRule.Share(0.5));
        Assert.Contains("give its agents a threshold",
            Assert.Throws<EspalierException>(() => random.Apply(agents.Graph)).Message);
    }

    /// <summary>Of a list, and of agents with a threshold, tokens are known by their numbers.</summary>
    [Fact]
    public void DrawsOnceMoreFromItsOwn()
    {
        using Model model = TokenNets.Vit();
        new Method { Keep = 0.5, Blocks = [0] }.Apply(model.Graph);
        new Method { Keep = 0.5, Blocks = [2] }.Apply(model.Graph);
        int[][] lists = Lists(model.Graph);
        Assert.Equal([8, 4], lists.Select(l => l.Length));
        Assert.Subset(lists[0].ToHashSet(), lists[1].ToHashSet());
        using Model agents = TokenNets.Vit();
        TokenAgents.Add(agents, [0]);
        new Method { Keep = 0.5, Blocks = [2] }.Apply(agents.Graph);
        Assert.Equal(8, Lists(agents.Graph).Single().Length);
    }

    private static int[][] Lists(Graph graph) => [.. graph.Nodes.Select(n => n.Op).OfType<KeepRowsOp>()
        .Where(k => k.Rule.By == KeepBy.Tokens).Select(k => k.Settings.Ints("tokens"))];
}
