using Espalier.Compression.Methods.AdaptiveSampling;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods.AdaptiveSampling;

/// <summary>Adaptive token sampling: PyTorch's tokens of each image and logits, and what is computed for them alone.</summary>
[Collection("Workers")]
public sealed class AtsTests
{
    /// <summary>The script reads the curve at 8 levels, and Count says how many tokens stay, those in front among them.</summary>
    [Theory]
    [InlineData("plain", 9)]
    [InlineData("distilled", 10)]
    public void IsWhatPyTorchGives(string network, int count) =>
        new TokenGolden(network).CheckKept("ats", new Ats { Count = count });

    /// <summary>Whatever the images are, and however many tokens are in front.</summary>
    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 0)]
    [InlineData(false, 3)]
    public void NoMoreStayThanCount(bool distilled, int registers)
    {
        using var scope = new Scope();
        foreach (int count in (int[])[5, 7, 9])
        {
            using Model model = TokenNets.Vit(distilled, form: new VitForm { Registers = registers });
            new Ats { Count = count, Blocks = [0] }.Apply(model.Graph);
            int most = 0;
            model.Graph.Run([TokenNets.Images(16)], look: (value, t) =>
            {
                if (value.Producer!.Op is KeepRowsOp) most = t.Rows!.MaxLength;
            });
            Assert.InRange(most, 2, count);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AllReadersOfItsGraphAgree(bool distilled)
    {
        using Model model = TokenNets.Vit(distilled);
        new Ats { Count = 7, Blocks = [1, 3] }.Apply(model.Graph);
        TokenNets.CheckReaders(model, batch: 1);
    }

    [Fact]
    public void QueriesAreOfTheTokensThatStay()
    {
        using Model model = TokenNets.Vit();
        new Ats { Count = 5 }.Apply(model.Graph);
        Assert.Equal(3, model.Graph.Nodes.Count(n => n.Op is SampleRowsOp));
        using var scope = new Scope();
        var attended = new List<(int Queries, int Keys)>();
        model.Graph.Run([TokenNets.Images(1)], look: (value, t) =>
        {
            if (value.Producer is { Op: AttentionOp } node) attended.Add((t.Shape[0], node.Operands[1]!.Tensor.Rows!.MaxLength));
        });
        Assert.Equal(17, attended[0].Queries);
        Assert.True(attended[1].Queries <= 5 && attended[3].Queries <= attended[1].Queries);
        using Session session = Session.Of(model);
        var trace = new TokenTrace();
        var logits = new float[5];
        session.Run(TokenNets.Images(1).Span, 1, logits, trace);
        Assert.Equal([17, attended[1].Queries, attended[2].Queries, attended[3].Queries], trace.Counts(0).ToArray());
        // With as many as there are, nearly all may stay: an image decides.
        long dense = session.MultiplyAdds([17]), left = session.MultiplyAdds(trace.Counts(0));
        Assert.True(left < dense);
    }

    [Fact]
    public void RefusesToLoseItsRowsTwice()
    {
        using Model model = TokenNets.Vit();
        new Ats { Count = 5 }.Apply(model.Graph);
        Assert.Contains("attends from other tokens than to",
            Assert.Throws<EspalierException>(() => new Ats { Count = 4 }.Apply(model.Graph)).Message);
        Assert.Contains("it is a whole number from 2", Assert.Throws<EspalierException>(() =>
            new Ats().Set("count", "1")).Message);
        using Model distilled = TokenNets.Vit(distilled: true);
        Assert.Contains("the 2 tokens in front always stay; take at least 3",
            Assert.Throws<EspalierException>(() => new Ats { Count = 2 }.Apply(distilled.Graph)).Message);
    }

    [Fact]
    public void RefusesAttentionThatItWouldNotSee()
    {
        using Model biased = TokenNets.Vit();
        GraphNode first = biased.Graph.Nodes.First(n => n.Op is AttentionOp);
        var op = (AttentionOp)first.Op;
        biased.Graph.Replace(first, t => F.Attention(t[0], t[1], t[2], op.Heads, op.Scale, F.Sum(t[0], 1)));
        Assert.Contains("attention with a bias",
            Assert.Throws<EspalierException>(() => new Ats { Count = 5 }.Apply(biased.Graph)).Message);
    }
}
