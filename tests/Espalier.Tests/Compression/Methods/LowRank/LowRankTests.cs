using Espalier.Compression;
using Espalier.Compression.Methods.LowRank;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Onnx;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class LowRankTests
{
    private static readonly LowRank Untimed = new() { Timed = false, Images = 64 };

    [Fact]
    public void Four_steps_as_PyTorch_does_them()
    {
        using var scope = new Scope();
        var golden = new TinyGolden("LowRank", "low-rank.json");
        var aware = golden.Root.GetProperty("aware");
        using Model model = golden.Model();
        string[] names = [.. golden.Root.GetProperty("names").EnumerateArray().Select(n => n.GetString()!)];
        for (int t = 0; t < names.Length; t++)
        {
            Tensor w = model.Graph.Weights[names[t]].Tensor;
            if (w.Rank != 2 || !names[t].Contains(".layer.", StringComparison.Ordinal)) continue;
            for (int i = 0; i < w.Length; i++) w.Span[i] = (float)(0.4 * Math.Sin(0.9 * Math.Pow(i, 1.3) + t));
        }
        SplitLayer[] layers = Untimed.LayersOf(model.Graph);
        Assert.Equal(12, layers.Length);
        Dictionary<SplitLayer, AwareLayer> all = Untimed.Look(model.Graph, layers,
            [TinyGolden.Images(20), TinyGolden.Images(21)]);
        SplitLayer fc1 = layers.Single(l => l.Name.EndsWith("0.ffn.fc1", StringComparison.Ordinal));
        TinyGolden.Close(TinyGolden.Numbers(aware.GetProperty("energy")), [.. all[fc1].Energy.Skip(1).Select(e => (float)e)],
            1e-5);

        AwareLayer[] order = [.. layers.OrderBy(l => Array.IndexOf(names, l.Weight.Name)).Select(l => all[l])];
        int[] ranks = Untimed.Choose(order, (1 - (double)golden.Number("ratio")) * layers.Sum(l => l.Cost));
        Assert.Equal(TinyGolden.Numbers(aware.GetProperty("ranks")), ranks.Select(r => (double)r));
        RemovalReport report = LayerSplit.Apply(model, [.. order.Zip(ranks).Where(p => p.Second < p.First.Layer.Ranks.Most)
            .Select(p => p.First.At(p.Second))], TinyGolden.Images(0));
        Assert.InRange(report.Difference, 0, 1e-5f);
        TinyGolden.Close(TinyGolden.Numbers(aware.GetProperty("logits")), model.Graph.Run(TinyGolden.Images(9)).Span);
        double[] losses = TinyGolden.Train(model, golden.Number("rate"), 4, new Nothing());
        TinyGolden.Close(TinyGolden.Numbers(aware.GetProperty("losses")), [.. losses.Select(l => (float)l)]);
        TinyGolden.Close(TinyGolden.Numbers(aware.GetProperty("after")), model.Graph.Run(TinyGolden.Images(9)).Span);
    }

    [Theory]
    [InlineData(CompressionJobs.TinyVit, 8)]
    [InlineData("resnet20", 16)]
    [InlineData("cifar-vgg11", 16)]
    public void The_same_everywhere(string network, int size)
    {
        using var scope = new Scope();
        string file = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors"),
            onnx = Path.ChangeExtension(file, ".onnx");
        try
        {
            using Model model = CompressionJobs.Model(network, size, width: 0.5);
            CompressionJob job = CompressionJobs.Job(model, Untimed with { TargetFlops = 0.75, FineTuneSteps = 2 });
            double whole = model.Graph.CostPerImage.MultiplyAdds;
            job.Run();
            Assert.InRange(model.Graph.CostPerImage.MultiplyAdds / whole, 0.68, 0.75);
            Tensor images = job.Example(8);
            float[] logits = model.Graph.Run(images).ToArray();
            model.Save(file);
            model.ExportOnnx(onnx);
            using Model loaded = Model.Open(file);
            float most = 1e-4f * Math.Max(1, logits.Max(MathF.Abs));
            Assert.Equal(logits, loaded.Graph.Run(images).ToArray());
            Assert.InRange(Removal.Difference(logits, OnnxRuntime.Floats(OnnxRuntime.Run(onnx, images.Span, 8)["logits"])), 0,
                most);
            var fast = new float[logits.Length];
            using (Session session = loaded.Session()) session.Run(images.ToArray(), 8, fast);
            Assert.InRange(Removal.Difference(logits, fast), 0, most);
            // Channels of the factors are channels like any others.
            CompressionJob second = CompressionJobs.Job(loaded, CompressionMethods.Get("l1") with { Ratio = 0.3 });
            second.Run();
            Assert.InRange(second.Removals[0].Difference, 0, 1e-4f);
            Assert.True(loaded.ParameterCount < model.ParameterCount);
        }
        finally
        {
            File.Delete(file);
            File.Delete(onnx);
        }
    }

    /// <summary>On real activations the aware form changes what the network gives less than plain SVD at the same
    /// ranks.</summary>
    [Fact]
    public void Less_of_the_output_is_lost_than_by_plain_svd()
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model("cifar-vgg11", 16, width: 0.5),
            plain = CompressionJobs.Model("cifar-vgg11", 16, width: 0.5);
        CompressionJob job = CompressionJobs.Job(model, Untimed);
        SplitLayer[] layers = Untimed.LayersOf(model.Graph), same = Untimed.LayersOf(plain.Graph);
        Dictionary<SplitLayer, AwareLayer> aware = Untimed.Look(model.Graph, layers, job.CalibrationBatches(64));
        Tensor images = job.Example(32);
        float[] before = model.Graph.Run(images).ToArray();
        int[] ranks = [.. layers.Select(l => l.Ranks.Nearest(0.3 * l.Ranks.Most))];
        LayerSplit.Apply(model, [.. layers.Zip(ranks, (l, r) => aware[l].At(r))], images);
        LayerSplit.Apply(plain, [.. same.Zip(ranks, (l, r) => new LayerSplit(l, r, Enc.Decompose(l)))], images);
        Assert.True(Error(model) < 0.5 * Error(plain), $"{Error(model)} {Error(plain)}");

        double Error(Model small) => small.Graph.Run(images).ToArray().Zip(before, (a, b) => (double)(a - b) * (a - b)).Sum();
    }

    [Fact]
    public void Published_choices_run_too()
    {
        using Model model = CompressionJobs.Model("resnet20");
        double whole = model.Graph.CostPerImage.MultiplyAdds;
        CompressionJob job = CompressionJobs.Job(model, Untimed with { TargetFlops = 0.7, Ranks = RankRule.Lagrangian,
            Centred = false });
        job.Run();
        Assert.True(model.Graph.CostPerImage.MultiplyAdds <= 0.7 * whole);
        Assert.DoesNotContain(model.Graph.Weights.Keys, k => k.EndsWith(".1.bias", StringComparison.Ordinal));
        Assert.InRange(job.Removals[0].Difference, 0, 1e-5f);
        CompressionJob again = CompressionJobs.Job(model, Untimed with { TargetFlops = 0.8, Form = SplitForm.Spatial });
        again.Run();
        Assert.InRange(again.Removals[0].Difference, 0, 1e-5f);
    }

    [Fact]
    public void What_it_cannot_do_is_refused_before_the_first_step()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        float[] first = model.Graph.Parameters.First().Value.ToArray();
        foreach (var (why, method) in ((string, LowRank)[])[("cannot reach the target", Untimed with { TargetFlops = 0.05 }),
            ("Rounds is 1", Untimed with { Rounds = 2 }), ("one ratio", Untimed with { TargetTime = 0.5 })])
        {
            CompressionJob job = CompressionJobs.Job(model, method with { FineTuneSteps = 5 });
            Assert.Contains(why, Assert.Throws<EspalierException>(job.Run).Message);
            Assert.Empty(job.Stages);
        }
        Assert.Equal(first, model.Graph.Parameters.First().Value.ToArray());
    }

    [Fact]
    public void A_stopped_run_ends_as_if_it_had_not_been()
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model(CompressionJobs.TinyVit, 8),
            Untimed with { TargetFlops = 0.75, FineTuneSteps = 4, Training = new() { Optimizer = "adamw",
                LearningRate = 2e-3f } });
        Assert.Equal(whole, resumed);
    }

    private sealed class Nothing : ITrainingHook;
}
