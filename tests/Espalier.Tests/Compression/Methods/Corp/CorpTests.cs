using Espalier.Compression;
using Espalier.Compression.Methods.Corp;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

public sealed class CorpTests
{
    private static readonly Corp Method = new() { Ratio = 0.4, Images = 64 };

    /// <summary>Two images of three tokens, one head of two dimensions: the squares of all score parts, by hand.</summary>
    [Fact]
    public void What_a_dimension_is_of_the_scores()
    {
        using var scope = new Scope();
        Graph graph = Graph.Trace(x =>
        {
            Tensor rows = F.PatchesToRows(x, 1);
            Tensor q = F.Slice(rows, 1, 0, 2), k = F.Slice(rows, 1, 2, 2);
            return F.TakeRows(F.Attention(q, k, q, HeadLayout.Uniform(1, 2), 1), 0);
        }, new Shape(2, 4, 1, 3), []);
        float[] images = [.. Enumerable.Range(0, 24).Select(i => MathF.Sin(i * i))];
        double[] energy = Assert.Single(Corp.Energy(graph, [Tensor.From(new Shape(2, 4, 1, 3), images)])).Value;
        for (int c = 0; c < 2; c++)
        {
            double sum = 0;
            for (int image = 0; image < 2; image++)
            {
                float At(int channel, int token) => images[(image * 4 + channel) * 3 + token];
                double mean = Enumerable.Range(0, 3).Average(j => At(2 + c, j));
                for (int i = 0; i < 3; i++)
                    for (int j = 0; j < 3; j++) sum += Math.Pow(At(c, i) * (At(2 + c, j) - mean), 2);
            }
            Assert.Equal(sum, energy[c], 1e-6 * sum);
        }
    }

    [Theory]
    [InlineData(ChannelKind.Hidden | ChannelKind.QueryKey, false)]
    [InlineData(ChannelKind.QueryKey, true)]
    [InlineData(ChannelKind.Hidden, false)]
    public void Both_kinds_go_and_are_made_up_for(ChannelKind groups, bool unequal)
    {
        double cut = Error(Method with { Ratio = null, Selection = Of(groups, unequal), Recover = Cut }, out _);
        double fitted = Error(Method with { Ratio = null, Selection = Of(groups, unequal) }, out Graph graph);
        Assert.True(fitted < 0.8 * cut, $"{cut} -> {fitted}");
        Assert.Equal(groups.HasFlag(ChannelKind.Hidden) ? 12 : 20,
            graph.Weights["transformer.encoder.layer.1.ffn.fc1.weight"].Shape[0]);
        HeadLayout heads = graph.Nodes.Select(n => n.Op).OfType<AttentionOp>().First().Heads;
        Assert.Equal(12, heads.ValueWidth);
        Assert.InRange(heads.QueryWidth, 6, groups.HasFlag(ChannelKind.QueryKey) ? 9 : 12);

        static SelectionOptions Of(ChannelKind groups, bool unequal) =>
            new() { Ratio = 0.4, Groups = groups, UnequalHeads = unequal };
    }

    [Fact]
    public void Units_that_say_nothing_go_first()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        const string Layer = "transformer.encoder.layer.0.ffn.fc1.";
        int[] dead = [2, 3, 7, 11, 12, 13, 17, 19];
        Tensor weight = model.Graph.Weights[Layer + "weight"].Tensor;
        foreach (int unit in dead) weight.Span.Slice(unit * 12, 12).Clear();
        float[] first = weight.Span[..12].ToArray(), last = weight.Span.Slice(18 * 12, 12).ToArray();
        CompressionJobs.Job(model, Method).Run();
        weight = model.Graph.Weights[Layer + "weight"].Tensor;
        Assert.Equal(new Shape(12, 12), weight.Shape);
        Assert.Equal(first, weight.Span[..12].ToArray());
        Assert.Equal(last, weight.Span[^12..].ToArray());
    }

    [Fact]
    public void Goes_on_where_it_stopped()
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model(CompressionJobs.TinyVit, 8), Method with
        {
            FineTuneSteps = 4, Training = new() { LearningRate = 0.01f },
        });
        Assert.Equal(whole.Keys, resumed.Keys);
        Assert.All(whole, w => Assert.Equal(w.Value, resumed[w.Key]));
    }

    [Fact]
    public void Refuses_what_it_does_not_do()
    {
        var streams = new SelectionOptions { Ratio = 0.4, Streams = true };
        foreach (var (network, method, message) in ((string, Corp, string)[])
        [
            ("resnet20", Method, "no layers whose channels could be removed"),
            (CompressionJobs.TinyVit, Method with { Rounds = 2 }, "one shot"),
            (CompressionJobs.TinyVit, Method with { Ratio = null, Selection = streams }, "Groups is"),
        ])
        {
            using Model model = CompressionJobs.Model(network, network == "resnet20" ? 16 : 8);
            int nodes = model.Graph.Nodes.Count, weights = model.Graph.Weights.Count;
            string error = Assert.Throws<EspalierException>(CompressionJobs.Job(model, method).Run).Message;
            Assert.Contains(message, error, StringComparison.Ordinal);
            Assert.Equal((nodes, weights), (model.Graph.Nodes.Count, model.Graph.Weights.Count));
        }
    }

    /// <summary>Nothing makes up for what goes, but for means.</summary>
    private static readonly RecoverOptions Cut = new() { Fit = RecoverFit.Mean, QueryKeys = QueryKeyFit.Slice };

    /// <summary>Squared error of the output on test images, as a share of its square.</summary>
    private static double Error(Corp method, out Graph graph)
    {
        Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        CompressionJob job = CompressionJobs.Job(model, method);
        using var scope = new Scope();
        Tensor images = job.Example(48);
        float[] before = model.Graph.Run(images).ToArray();
        job.Run();
        float[] after = model.Graph.Run(images).ToArray();
        graph = model.Graph;
        Assert.InRange(job.Removals[0].Difference, 0, 1e-4f);
        return before.Zip(after, (a, b) => (double)(a - b) * (a - b)).Sum() / before.Sum(a => (double)a * a);
    }
}
