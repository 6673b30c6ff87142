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

    private static int[][] Lists(Graph graph) => [.. graph.Nodes.Select(n => n.Op).OfType<KeepRowsOp>()
        .Select(k => k.Settings.Ints("tokens"))];
}
