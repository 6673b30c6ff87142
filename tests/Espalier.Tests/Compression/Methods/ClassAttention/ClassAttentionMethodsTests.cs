using Espalier.Compression;
using Espalier.Compression.Methods.ClassAttention;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods.ClassAttention;

/// <summary>EViT and plain ranking by class attention: published counts and costs, PyTorch's tokens and logits.</summary>
[Collection("Workers")]
public sealed class ClassAttentionMethodsTests
{
    [Theory]
    [InlineData("plain")]
    [InlineData("distilled")]
    public void AreWhatPyTorchGives(string network)
    {
        var golden = new TokenGolden(network);
        golden.CheckKept("whole", new ClassTopK { Keep = 1, Blocks = [] });
        golden.CheckKept("evit", new Evit { Keep = 0.6 });
        golden.CheckKept("topk", new ClassTopK { Keep = 0.7, Blocks = [0, 2] });
        golden.CheckKept("topk", new Evit { Keep = 0.7, Blocks = [0, 2], Fuse = false });
    }

    [Theory]
    [InlineData(0.9, 3.988, 4.022, new[] { 177, 160, 144 }, new[] { 178, 162, 147 })]
    [InlineData(0.7, 2.997, 3.029, new[] { 138, 97, 68 }, new[] { 139, 99, 71 })]
    [InlineData(0.5, 2.282, 2.309, new[] { 98, 49, 25 }, new[] { 99, 51, 27 })]
    public void KeepAsManyAsPublished(double keep, double plain, double fused, int[] counts, int[] fusedCounts)
    {
        Check(new Evit { Keep = keep, Fuse = false }, plain, counts);
        Check(new ClassTopK { Keep = keep }, plain, counts);
        Check(new Evit { Keep = keep }, fused, fusedCounts);

        static void Check(TokenMethod method, double giga, int[] counts)
        {
            Graph graph = TokenNets.Shapes(224, 16, 384, 12, 6);
            method.Apply(graph);
            Assert.Equal(giga, TokenNets.Giga(graph), 5e-4);
            int[] tokens = TokenNets.Tokens(graph);
            Assert.Equal([197, .. counts.Select(c => c + 1)], new[] { tokens[2], tokens[3], tokens[6], tokens[9] });
            Assert.Equal((tokens[3], tokens[6], tokens[9]), (tokens[5], tokens[8], tokens[11]));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AllReadersOfTheirGraphsAgree(bool distilled)
    {
        TokenMethod evit = new Evit { Keep = 0.6 }, topk = new ClassTopK { Keep = 0.5, Blocks = [0, 2] };
        using Model model = TokenNets.Vit(distilled), fused = TokenNets.Vit(distilled);
        topk.Apply(model.Graph);
        TokenNets.CheckReaders(model);
        evit.Apply(fused.Graph);
        TokenNets.CheckReaders(fused);
        // Once more, elsewhere: what was kept or fused is an ordinary token.
        new Evit { Keep = 0.8, Blocks = [1, 3] }.Apply(model.Graph);
        TokenNets.CheckReaders(model);
        Assert.Contains("block 1 drops tokens already",
            Assert.Throws<EspalierException>(() => evit.Apply(model.Graph)).Message);
    }

    [Fact]
    public void MeetATarget()
    {
        foreach (TokenMethod method in (TokenMethod[])[new Evit { TargetFlops = 0.7 }, new ClassTopK { TargetFlops = 0.5 }])
        {
            Graph graph = TokenNets.Shapes(224, 16, 384, 12, 6);
            long whole = graph.CostPerImage.MultiplyAdds;
            method.Apply(graph);
            double share = (double)graph.CostPerImage.MultiplyAdds / whole, target = method.TargetFlops!.Value;
            Assert.InRange(share, target - 0.01, target);
        }
    }

    [Fact]
    public void RefuseWhatTheyCannotDo()
    {
        using var cnn = Model.Create("resnet20");
        Assert.Contains("no vision transformer", Message(new Evit { Keep = 0.5 }, cnn.Graph));
        using Model model = TokenNets.Vit();
        Assert.Contains("they rise from 0 to at most 3", Message(new Evit { Keep = 0.5, Blocks = [2, 4] }, model.Graph));
        Assert.Contains("has a target for multiply-adds", Message(new Evit { Ratio = 0.5 }, model.Graph));
        Assert.Contains("cannot leave", Message(new ClassTopK { TargetFlops = 0.1 }, model.Graph));
        using Model biased = TokenNets.Vit();
        GraphNode first = biased.Graph.Nodes.First(n => n.Op is AttentionOp);
        var op = (AttentionOp)first.Op;
        biased.Graph.Replace(first, t => F.Attention(t[0], t[1], t[2], op.Heads, op.Scale, F.Sum(t[0], 1)));
        Assert.Contains("attention with a bias", Message(new Evit { Keep = 0.5 }, biased.Graph));
        Assert.Contains("attention with a bias", Message(new ClassTopK { Keep = 0.5 }, biased.Graph));
        CompressionMethod set = new Evit().Set("keep", "0.25").Set("blocks", "1+3").Set("fuse", "no");
        Assert.Equal((0.25, "1,3", false), (((Evit)set).Keep, string.Join(',', ((Evit)set).Blocks!), ((Evit)set).Fuse));
        Assert.Throws<EspalierException>(() => new Evit().Set("blocks", "3+1"));
        Assert.Throws<EspalierException>(() => new Evit().Set("keep", "0"));

        static string Message(TokenMethod method, Graph graph) => Assert.Throws<EspalierException>(() =>
            method.Apply(graph)).Message;
    }
}
