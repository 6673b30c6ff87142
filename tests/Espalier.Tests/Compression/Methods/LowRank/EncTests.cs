using Espalier.Compression;
using Espalier.Compression.Methods.LowRank;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class EncTests
{
    private static readonly Enc Untimed = new() { Timed = false };

    [Fact]
    public void Four_steps_as_PyTorch_does_them()
    {
        using var scope = new Scope();
        var golden = new TinyGolden("LowRank", "low-rank.json");
        var enc = golden.Root.GetProperty("enc");
        using Model model = Model.FromModule(new SplitNet());
        CompressionJob job = CompressionJobs.Job(model, Untimed with { Ratio = golden.Number("ratio") });
        job.Run();
        RemovalReport report = Assert.Single(job.Removals);
        Assert.Equal(TinyGolden.Numbers(enc.GetProperty("ranks")), report.Summary.Groups.Select(g => (double)g.After));
        Assert.InRange(report.Difference, 0, 1e-6f);
        TinyGolden.Close(TinyGolden.Numbers(enc.GetProperty("logits")), model.Graph.Run(TinyGolden.Images(9)).Span, 1e-5);
        double[] losses = TinyGolden.Train(model, golden.Number("rate"), 4, new Nothing());
        TinyGolden.Close(TinyGolden.Numbers(enc.GetProperty("losses")), [.. losses.Select(l => (float)l)]);
        TinyGolden.Close(TinyGolden.Numbers(enc.GetProperty("after")), Product(model.Graph, "conv2"));

        SplitLayer conv2 = Untimed.LayersOf(Model.FromModule(new SplitNet()).Graph)[0];
        double[] energy = RankMetric.Energy(Enc.Decompose(conv2)[0].Values, conv2.Ranks.Most);
        TinyGolden.Close(TinyGolden.Numbers(enc.GetProperty("energy")), [.. energy.Select(e => (float)e)], 1e-6);
    }

    [Theory]
    [InlineData(EncSearch.Uniform, EncMetric.Energy, SplitForm.Spatial)]
    [InlineData(EncSearch.Map, EncMetric.Energy, SplitForm.Channel)]
    [InlineData(EncSearch.Map, EncMetric.Combined, SplitForm.Spatial)]
    [InlineData(EncSearch.Model, EncMetric.Energy, SplitForm.Spatial)]
    [InlineData(EncSearch.Model, EncMetric.Measured, SplitForm.Spatial)]
    [InlineData(EncSearch.Inf, EncMetric.Combined, SplitForm.Spatial)]
    public void Every_search_meets_the_target(EncSearch search, EncMetric metric, SplitForm form)
    {
        using Model model = CompressionJobs.Model("resnet20");
        (string, float[])[] before = [.. model.Graph.Weights.Values.Select(w => (w.Name, w.Tensor.ToArray()))];
        CompressionJob job = CompressionJobs.Job(model, Untimed with
        {
            Search = search, Metric = metric, Form = form, TargetFlops = 0.6, Candidates = 3, RankBatches = 1,
        });
        double whole = model.Graph.CostPerImage.MultiplyAdds;
        job.Run();
        // By chance an untrained network is as good with fewer ranks.
        Assert.InRange(model.Graph.CostPerImage.MultiplyAdds / whole, metric == EncMetric.Measured ? 0.1 : 0.55, 0.6);
        // What stays is as it was: nothing of the search is left behind.
        var now = model.Graph.Weights.Values.ToDictionary(w => w.Name, w => w.Tensor.ToArray());
        Assert.All(before.Where(b => now.ContainsKey(b.Item1)), b => Assert.Equal(b.Item2, now[b.Item1]));
        Assert.Contains(now.Keys, k => k.EndsWith(".1.weight", StringComparison.Ordinal));
        Assert.Empty(job.Stages);
    }

    /// <summary>A ResNet as ONNX, read again and split: in the graph, its file, a session and ONNX Runtime; then split
    /// again.</summary>
    [Fact]
    public void An_imported_network()
    {
        using var scope = new Scope();
        string onnx = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.onnx"),
            small = Path.ChangeExtension(onnx, ".small.onnx");
        string file = Path.ChangeExtension(onnx, ".safetensors");
        try
        {
            using (Model model = CompressionJobs.Model("resnet20")) model.ExportOnnx(onnx);
            using Model read = Model.Open(onnx);
            CompressionJob job = CompressionJobs.Job(read, Untimed with { TargetFlops = 0.6 });
            job.Run();
            Assert.Contains(read.Graph.Nodes, n => n.Op is Conv2dOp { Stride: (2, 1) });
            Assert.Contains(read.Graph.Nodes, n => n.Op is Conv2dOp { Stride: (1, 2) });
            Tensor images = job.Example(8);
            float[] logits = read.Graph.Run(images).ToArray();
            read.Save(file);
            read.ExportOnnx(small);
            using Model loaded = Model.Open(file), again = Model.Open(small);
            Assert.Equal(logits, loaded.Graph.Run(images).ToArray());
            float most = 1e-4f * Math.Max(1, logits.Max(MathF.Abs));
            Assert.InRange(Removal.Difference(logits, again.Graph.Run(images).ToArray()), 0, most);
            Assert.InRange(Removal.Difference(logits, OnnxRuntime.Floats(OnnxRuntime.Run(small, images.Span, 8)["logits"])), 0,
                most);
            var fast = new float[logits.Length];
            using (Session session = loaded.Session()) session.Run(images.ToArray(), 8, fast);
            Assert.InRange(Removal.Difference(logits, fast), 0, most);
            CompressionJobs.Job(loaded, Untimed with { TargetFlops = 0.7 }).Run();
            Assert.True(loaded.ParameterCount < read.ParameterCount);
        }
        finally
        {
            foreach (string path in (string[])[onnx, small, file]) File.Delete(path);
        }
    }

    [Fact]
    public void Which_layers_become_two()
    {
        using Model vit = CompressionJobs.Model(CompressionJobs.TinyVit, 8), resnet = Model.Create("resnet50");
        Assert.Equal(12, Untimed.LayersOf(vit.Graph).Length);
        Assert.Empty((Untimed with { Layers = EncLayers.Convolutions }).LayersOf(vit.Graph));
        string[] names = [.. Untimed.LayersOf(resnet.Graph).Select(l => l.Name)];
        Assert.Equal(48, names.Length);
        Assert.DoesNotContain("conv1", names);
        Assert.DoesNotContain("layer1.0.downsample.0", names);
        Assert.Contains("layer1.0.conv3", names);
        Assert.Equal(53, (Untimed with { Projections = true, First = 0.5 }).LayersOf(resnet.Graph).Length);
        SplitLayer first = (Untimed with { First = 0.5 }).LayersOf(resnet.Graph)[0];
        Assert.Equal((true, SplitForm.Channel, first.Ranks.Nearest(0.5 * first.Ranks.Most)),
            (first.IsFirst, first.Form, Assert.Single(first.Ranks.Allowed)));
        Assert.Equal(45, (Untimed with { Selection = new() { Keep = ["layer4.0.*"] } }).LayersOf(resnet.Graph).Length);
    }

    [Fact]
    public void Layers_that_are_no_faster_stay_and_what_times_chose_is_kept()
    {
        string folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            using Model model = CompressionJobs.Model("resnet20", width: 1), same = CompressionJobs.Model("resnet20", width: 1);
            var method = new Enc { TargetFlops = 0.5, Training = new() { OutputDir = folder } };
            bool any = Ran(model, method);
            string ranks = Assert.Single(Directory.GetFiles(folder, "enc-ranks-*.txt"));
            string[] lines = File.ReadAllLines(ranks);
            Assert.Equal(method.LayersOf(CompressionJobs.Model("resnet20", width: 1).Graph).Length, lines.Length);
            Assert.Equal(any, Ran(same, method with { Training = method.Training with { Resume = true } }));
            Assert.Equal(model.Graph.Weights.Values.Select(w => (w.Name, w.Shape)),
                same.Graph.Weights.Values.Select(w => (w.Name, w.Shape)));
            lines[0] = "9999 " + lines[0].Split(' ')[1];
            File.WriteAllLines(ranks, lines);
            using Model third = CompressionJobs.Model("resnet20", width: 1);
            Assert.Contains("line 1", Assert.Throws<EspalierException>(() =>
                CompressionJobs.Job(third, method with { Training = method.Training with { Resume = true } }).Run()).Message);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        // On some processor no layer may be faster.
        static bool Ran(Model model, Enc method)
        {
            try
            {
                CompressionJobs.Job(model, method).Run();
                return true;
            }
            catch (EspalierException e) when (e.Message.Contains("no layer is faster", StringComparison.Ordinal))
            {
                return false;
            }
        }
    }

    [Fact]
    public void What_it_cannot_do_is_refused_before_the_first_step()
    {
        Refused("cannot reach the target", Untimed with { TargetFlops = 0.02 });
        Refused("Rounds is 1", Untimed with { Rounds = 2 });
        Refused("one ratio", Untimed with { TargetLatency = 3 });
        Refused("no layer that could be split matches 'nothing*'", Untimed with { Selection = new() { Keep = ["nothing*"] } });
        Refused("no convolutions or linear layers", Untimed with { Selection = new() { Keep = ["*"] } });

        static void Refused(string why, Enc method)
        {
            using Model model = CompressionJobs.Model("resnet20");
            (string, float[])[] before = [.. model.Graph.Weights.Values.Select(w => (w.Name, w.Tensor.ToArray()))];
            CompressionJob job = CompressionJobs.Job(model, method with { FineTuneSteps = 5 });
            Assert.Contains(why, Assert.Throws<EspalierException>(job.Run).Message);
            Assert.Empty(job.Stages);
            Assert.Equal(before, model.Graph.Weights.Values.Select(w => (w.Name, w.Tensor.ToArray())));
        }
    }

    [Fact]
    public void A_stopped_run_ends_as_if_it_had_not_been()
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model("resnet20"), Untimed with
        {
            TargetFlops = 0.6, Search = EncSearch.Model, Metric = EncMetric.Combined, FineTuneSteps = 4,
            Training = new() { Optimizer = "adamw", LearningRate = 2e-3f },
        });
        Assert.Equal(whole, resumed);
    }

    /// <summary>The weight that the two halves of a spatial pair make together.</summary>
    private static float[] Product(Graph graph, string layer)
    {
        Tensor v = graph.Weights[$"{layer}.0.weight"].Tensor, h = graph.Weights[$"{layer}.1.weight"].Tensor;
        int outputs = h.Shape[0], rank = h.Shape[1], width = h.Shape[3], inputs = v.Shape[1], height = v.Shape[2];
        var product = new float[outputs * inputs * height * width];
        for (int i = 0; i < product.Length; i++)
        {
            int j = i % width, row = i / width % (inputs * height), n = i / (width * inputs * height);
            double sum = 0;
            for (int k = 0; k < rank; k++) sum += (double)v.Span[k * inputs * height + row] * h.Span[(n * rank + k) * width + j];
            product[i] = (float)sum;
        }
        return product;
    }

    private sealed class Nothing : ITrainingHook;
}
