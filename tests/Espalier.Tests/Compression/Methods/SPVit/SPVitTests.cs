using System.Text.Json;
using Espalier.Compression;
using Espalier.Compression.Methods.SPVit;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class SPVitTests
{
    private static readonly SPVit Method = new() { TargetFlops = 0.5, TrainSteps = 3, Training = new() { LearningRate = 1e-3f } };

    [Fact]
    public void Gates_as_published()
    {
        Assert.Equal(0.8175745, LearnedNumbers.Sigmoid(1.5), 1e-7);
        var (logit, hard, soft) = SPGates.Sample(1.5, 0.3);
        Assert.Equal((0.6527021, 0.6576191), (Math.Round(logit, 7), Math.Round(soft, 7)));
        Assert.Equal(1, hard);
        (logit, hard, soft) = SPGates.Sample(1.5, 0.1);
        Assert.Equal((-0.6972246, 0.3324279), (Math.Round(logit, 7), Math.Round(soft, 7)));
        Assert.Equal(0, hard);
        Assert.Equal(0, SPGates.Sample(1.5, 0).Hard);
        Assert.Equal(0.0363621, SPGates.IndicatorSlope(1.5), 1e-7);
        // Gates count only behind open ones: what stands in attention's place.
        Assert.Equal([1, 0, 0], SPGates.Factors([1, 0, 1]));
        Assert.Equal([0, 0, 1], SPGates.Factors([1, 1, 1]));
        Assert.Equal([0, 1, 0], SPGates.Factors([1, 1, 0]));
        Assert.Equal([0, 0, 0], SPGates.Factors([0, 1, 1]));
        // With all open attention's gate alone learns, with two the 3 x 3 convolution's.
        Assert.Equal([0, 0, 7 - 3], SPGates.Gradient([1, 1, 1], [2, 3, 7]));
        Assert.Equal([0, 3 - 2, 7 - 3], SPGates.Gradient([1, 1, 0], [2, 3, 7]));
        Assert.Equal([2, 3 - 2, 0], SPGates.Gradient([1, 0, 0], [2, 3, 7]));
        Assert.Equal([2, 0, 0], SPGates.Gradient([0, 0, 0], [2, 3, 7]));
    }

    /// <summary>The counter of the paper leaves the class token out of the MLP; here it is counted.</summary>
    [Theory]
    [InlineData(768, 12, 19_267_584, 96_337_920, 524_391_936, 924_844_032, 17_510_836_224)]
    [InlineData(384, 6, 9_633_792, 48_168_960, 146_000_640, 231_211_008, 4_586_542_080)]
    [InlineData(192, 3, 4_816_896, 24_084_480, 43_951_488, 57_802_752, 1_251_052_032)]
    public void Costs_of_DeiTs_blocks(int width, int heads, long conv1, long conv3, long attention, long mlp, long dense)
    {
        using Model model = Model.FromModule(new VisionTransformer(new VitConfig
        {
            HiddenSize = width, MlpDim = 4 * width, NumHeads = heads, NumLayers = 1, NumClasses = 1000,
        }));
        SearchedBlock block = Method.Blocks(model.Graph, Method.Selection)[0];
        BlockCost cost = block.MultiplyAdds();
        Assert.Equal((conv1, conv3, attention), (cost.Conv1, cost.Conv3, cost.Attention));
        Assert.Equal(mlp, cost.Unit * block.UnitCount / 197 * 196);
        double patches = 196.0 * width * 768, head = 1000.0 * width, norms = 2.0 * 197 * width;
        Assert.Equal(model.Graph.CostPerImage.MultiplyAdds, cost.Of(SearchedBlock.Attention, block.UnitCount) + patches + head);
        Assert.Equal(dense, 12 * (cost.Attention + mlp + norms) + patches + head);
        Assert.Equal(2 * 64.0 * width, block.Weights().Conv1);
        Assert.Equal(10 * 64.0 * width, block.Weights().Conv3);
        if (width != 768) return;
        // The published architecture of DeiT-B: 8.3 G leave so many hidden units.
        double fixedParts = 3 * cost.Of(SearchedBlock.Conv1, 0) + 2 * cost.Of(SearchedBlock.Conv3, 0)
            + 7 * cost.Of(SearchedBlock.Attention, 0) + 12 * norms + patches + head;
        Assert.Equal(4.041e9, fixedParts, 0.001e9);
        Assert.Equal(0.384, (8.3e9 - fixedParts) / (12 * mlp), 0.001);
    }

    [Fact]
    public void Both_layers_of_a_gated_MLP_count()
    {
        using Model model = TokenNets.Vit(form: new VitForm { GatedMlp = true });
        SearchedBlock block = Method.Blocks(model.Graph, Method.Selection)[0];
        Assert.Equal(3 * TokenNets.Small.HiddenSize, block.Weights().Unit);
        Assert.Equal(3 * 17 * TokenNets.Small.HiddenSize, block.MultiplyAdds().Unit);
    }

    [Fact]
    public void Refuses_to_train_some_layers_only()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        CompressionJob job = CompressionJobs.Job(model, Method with { Training = new TrainOptions { TrainOnly = ["head"] } });
        Assert.Contains("leave TrainOnly out", Assert.Throws<EspalierException>(job.Run).Message, StringComparison.Ordinal);
        Assert.Empty(job.Stages);
    }

    [Fact]
    public void Slopes_of_costs_are_those_of_differences()
    {
        var cost = new BlockCost(3, 11, 40, 1);
        foreach (double[] open in (double[][])[[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]])
        {
            double[] slopes = GateSearch.Slopes(open, cost);
            for (int k = 0; k < 3; k++) Assert.Equal(At(k, 1) - At(k, 0), slopes[k], 1e-12);

            double At(int k, double value)
            {
                double[] z = [.. open];
                z[k] = value;
                return cost.Of(z.TakeWhile(v => v == 1).Count(), 0);
            }
        }
    }

    [Fact]
    public void Kernels_are_taps_mixed_of_heads()
    {
        using var scope = new Scope();
        using Model model = Wide();
        SearchedBlock block = Method.Blocks(model.Graph, Method.Selection)[1];
        block.Insert();
        float[] wv = Weight("value.weight"), bv = Weight("value.bias"), wo = Weight("out.weight");
        const int D = 12, Heads = 3, Width = 4;
        // At first every tap is the mean of the heads, so that what leads back is nine times their mean.
        var (kernel, bias, back) = block.Kernels(9);
        for (int o = 0; o < Width; o++)
            for (int i = 0; i < D; i++)
            {
                float mean = Enumerable.Range(0, Heads).Average(h => wv[(h * Width + o) * D + i]);
                for (int tap = 0; tap < 9; tap++) Assert.Equal(mean, kernel.Span[(o * D + i) * 9 + tap], 1e-5f);
                float led = 9 * Enumerable.Range(0, Heads).Average(h => wo[i * D + h * Width + o]);
                Assert.Equal(led, back.Span[i * Width + o], 1e-5f);
            }

        // Each tap a head of its own: tap p stands at column p / 3 and line p % 3 of the kernel.
        for (int p = 0; p < 9; p++)
            for (int h = 0; h < Heads; h++) block.Mixing.Span[p * Heads + h] = (p * p + 2 * p) % Heads == h ? 1 : 0;
        (kernel, bias, back) = block.Kernels(9);
        Tensor map = Waves(new Shape(2, D, 3, 3)), y = F.Conv2d(map, kernel, bias, 1, 1);
        foreach (int image in new[] { 0, 1 })
            for (int o = 0; o < Width; o++)
                for (int line = 0; line < 3; line++)
                    for (int column = 0; column < 3; column++)
                    {
                        double sum = 0;
                        for (int p = 0; p < 9; p++)
                        {
                            int h = (p * p + 2 * p) % Heads, from = line + p % 3 - 1, at = column + p / 3 - 1;
                            sum += bv[h * Width + o];
                            if (from is < 0 or > 2 || at is < 0 or > 2) continue;
                            for (int i = 0; i < D; i++)
                                sum += wv[(h * Width + o) * D + i] * map.Span[((image * D + i) * 3 + from) * 3 + at];
                        }
                        Assert.Equal(sum, y.Span[((image * Width + o) * 3 + line) * 3 + column], 1e-4);
                    }
        Assert.Equal(new Shape(Width, D, 1, 1), block.Kernels(1).Kernel.Shape);

        float[] Weight(string name) => model.Graph.Weights["transformer.encoder.layer.1.attn." + name].Tensor.ToArray();
    }

    [Fact]
    public void With_all_gates_open_nothing_changes()
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        float[] before = model.Graph.Run(TinyGolden.Images(0)).ToArray();
        SearchedBlock[] blocks = Method.Blocks(model.Graph, Method.Selection);
        foreach (SearchedBlock block in blocks) block.Insert();
        Assert.Equal(before, model.Graph.Run(TinyGolden.Images(0)).ToArray());
        blocks[1].Operations!.Hard[2] = 0;
        blocks[1].Open();
        Assert.NotEqual(before, model.Graph.Run(TinyGolden.Images(0)).ToArray());
    }

    [Fact]
    public void Four_training_steps_give_PyTorchs_numbers()
    {
        var golden = new TinyGolden("SPVit", "steps.json");
        using Model model = golden.Model();
        SPVit method = Method with
        {
            TargetFlops = 0.4, Lambda = 0.3, Initial = 0.5, Rate = 0.3, Temperature = 0.5, TrainSteps = 4,
        };
        long work = model.Graph.CostPerImage.MultiplyAdds;
        SearchedBlock[] blocks = method.Blocks(model.Graph, method.Selection);
        int drawn = 0;
        GateSearch search = method.Search(blocks, method.Selection, work, _ => () => ++drawn * 0.6180339887498949 % 1);
        for (int b = 0; b < blocks.Length; b++)
        {
            blocks[b].Insert();
            Span<float> mixing = blocks[b].Mixing.Span;
            for (int i = 0; i < mixing.Length; i++) mixing[i] = (float)(1 + 0.3 * Math.Sin(i + b));
        }
        var watch = new Watch(search, blocks);
        double[] losses = TinyGolden.Train(model, 0.05f, 4, watch);
        TinyGolden.Close(golden["losses"], [.. losses.Select(l => (float)l)]);
        TinyGolden.Close(golden["shares"], [.. watch.Shares.Select(s => (float)s)]);
        JsonElement.ArrayEnumerator steps = golden.Root.GetProperty("drawn").EnumerateArray();
        Assert.Equal(steps.SelectMany(s => s.EnumerateArray().Select(TinyGolden.Numbers)), watch.Drawn);
        foreach (var (values, i) in golden.Root.GetProperty("operations").EnumerateArray().Select((v, i) => (v, i)))
            TinyGolden.Close(TinyGolden.Numbers(values), Floats(blocks[i].Operations!.Values));
        foreach (var (values, i) in golden.Root.GetProperty("units").EnumerateArray().Select((v, i) => (v, i)))
            TinyGolden.Close(TinyGolden.Numbers(values), Floats(blocks[i].Units!.Values));
        foreach (JsonProperty weight in golden.Root.GetProperty("weights").EnumerateObject())
            TinyGolden.Close(TinyGolden.Numbers(weight.Value), model.Graph.Weights[weight.Name].Tensor.Span);

        static float[] Floats(IEnumerable<double> values) => [.. values.Select(v => (float)v)];
    }

    /// <summary>Every architecture is what the open gates gave, in graph, file, session and ONNX file.</summary>
    [Theory]
    [InlineData(0, 3, false)]
    [InlineData(1, 2, false)]
    [InlineData(2, 1, true)]
    [InlineData(3, 0, false)]
    [InlineData(0, 2, true)]
    [InlineData(1, 3, true)]
    public void Blocks_become_what_was_searched(int first, int second, bool addNorm)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        CompressionJob job = CompressionJobs.Job(model, Method with { AddNorm = addNorm, TargetFlops = 0.7 });
        SPVit method = (SPVit)job.Options;
        SearchedBlock[] blocks = method.Blocks(model.Graph, method.Selection);
        foreach (SearchedBlock block in blocks) block.Insert();
        GateSearch search = method.Search(blocks, method.Selection, model.Graph.CostPerImage.MultiplyAdds);
        job.Train("search", 2, search);
        int[] operations = [first, second];
        for (int b = 0; b < 2; b++)
            for (int k = 0; k < 3; k++) blocks[b].Operations!.Hard[k] = k < operations[b] ? 1 : 0;
        foreach (SearchedBlock block in blocks) block.Open();
        Assert.Equal(operations, blocks.Select(b => b.Operation));
        Assert.InRange(SPVit.Convert(job, blocks), 0, 1e-5f);
        Gate.Remove(model.Graph, blocks.Select(b => b.Hidden!));
        Assert.Equal(operations.Count(o => o is 1 or 2) * 2, model.Graph.Nodes.Count(n => n.Op is Conv2dOp));
        Assert.Equal(operations.Count(o => o == 3), model.Graph.Nodes.Count(n => n.Op is AttentionOp));
        Assert.DoesNotContain(model.Graph.Weights.Keys, w => w.Contains("search", StringComparison.Ordinal));
        using var scope = new Scope();
        Tensor images = TinyGolden.Images(1);
        float[] expected = model.Graph.Run(images).ToArray(), fast = new float[expected.Length];
        using (Session session = model.Session()) session.Run(images.Span, images.Shape[0], fast);
        Assert.InRange(Removal.Difference(expected, fast), 0, 1e-5f);
        string folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            model.Save(Path.Combine(folder, "a.safetensors"));
            using (Model read = Model.Open(Path.Combine(folder, "a.safetensors")))
                Assert.Equal(expected, read.Graph.Run(images).ToArray());
            model.ExportOnnx(Path.Combine(folder, "a.onnx"));
            using Model onnx = Model.Open(Path.Combine(folder, "a.onnx"));
            if (first is 1 or 2) Assert.Contains(onnx.Graph.Nodes, n => n.Op is RowsToMapsOp);
            if (second == 3) Assert.Contains(onnx.Graph.Nodes, n => n.Op is AttentionOp);
            Assert.InRange(Removal.Difference(expected, onnx.Graph.Run(images).ToArray()), 0, 1e-4f);
            string file = Path.Combine(folder, "a.onnx");
            float[] there = OnnxRuntime.Floats(OnnxRuntime.Run(file, images.Span, images.Shape[0])["logits"]);
            Assert.InRange(Removal.Difference(expected, there), 0, 1e-4f);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public void Ends_smaller(bool restart, bool addNorm)
    {
        using Model model = Wide();
        CompressionJob job = CompressionJobs.Job(model, Method with
        {
            TargetFlops = 0.4, FineTuneSteps = 2, Rate = 0.5, Restart = restart, AddNorm = addNorm, Lambda = 100,
        });
        long before = model.Graph.CostPerImage.MultiplyAdds;
        job.Run();
        Assert.InRange((double)model.Graph.CostPerImage.MultiplyAdds / before, 0.05, 0.4);
        Assert.All(job.Removals, r => Assert.InRange(r.Difference, 0, 1e-5f));
        Assert.Equal(before, job.Removals[0].Summary.MultiplyAddsBefore);
        Assert.Equal(model.ParameterCount, job.Removals[^1].Summary.ParametersAfter);
        Assert.DoesNotContain(model.Graph.Weights.Keys, w => w.Contains("gate", StringComparison.Ordinal));
        Assert.Contains("spvit", model.Card.History[^1], StringComparison.Ordinal);
    }

    /// <summary>Convolutions never reach a class token: with all attention gone the answer would be the same for every image.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_class_token_keeps_one_attention(bool searchedAway)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        SPVit method = Method with { TargetFlops = 0.45 };
        SearchedBlock[] blocks = method.Blocks(model.Graph, method.Selection);
        GateSearch search = method.Search(blocks, method.Selection, model.Graph.CostPerImage.MultiplyAdds);
        // Units are worth most, so that operations are closed first; the second block's are a little better.
        foreach (SearchedBlock block in blocks) Array.Fill(block.Units!.Values, 9);
        Array.Fill(blocks[1].Operations!.Values, 2);
        foreach (SearchedBlock block in searchedAway ? blocks : []) block.Operations!.Hard[2] = 0;
        search.MeetTarget();
        Assert.Equal([SearchedBlock.Nothing, SearchedBlock.Attention], blocks.Select(b => b.Operation));
        Assert.InRange(search.Share, search.Least, 0.45);
    }

    [Fact]
    public void What_is_kept_stays()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        SPVit method = Method with
        {
            TargetFlops = null, Selection = new() { Ratio = 0.15, Keep = ["*.attn.out", "*.1.ffn.fc1"] },
        };
        CompressionJob job = CompressionJobs.Job(model, method);
        job.Run();
        Assert.Equal([20, 20], [model.Graph.Weights["transformer.encoder.layer.1.ffn.fc1.weight"].Shape[0], 20]);
        Assert.InRange(model.Graph.Weights["transformer.encoder.layer.0.ffn.fc1.weight"].Shape[0], 1, 19);
        Assert.Equal(2, model.Graph.Nodes.Count(n => n.Op is AttentionOp));
    }

    [Fact]
    public void Goes_on_where_it_stopped()
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model(CompressionJobs.TinyVit, 8), Method with
        {
            TrainSteps = 4, FineTuneSteps = 2, Rate = 0.3, Training = new TrainOptions { LearningRate = 0.01f },
        });
        Assert.Equal(whole.Keys, resumed.Keys);
        Assert.All(whole, w => Assert.Equal(w.Value, resumed[w.Key]));
    }

    [Theory]
    [InlineData(0.5, 0, false, "TrainSteps is 0")]
    [InlineData(0.01, 3, false, "cannot leave 0.01 of the network")]
    [InlineData(0.5, 3, true, "FineTuneSteps is 0")]
    public void Refuses_what_cannot_be_before_the_first_step(double flops, long steps, bool restart, string message)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        int nodes = model.Graph.Nodes.Count;
        SPVit method = Method with { TargetFlops = flops, TrainSteps = steps, Restart = restart };
        CompressionJob job = CompressionJobs.Job(model, method);
        Assert.Contains(message, Assert.Throws<EspalierException>(job.Run).Message, StringComparison.Ordinal);
        Assert.Empty(job.Stages);
        Assert.Equal(nodes, model.Graph.Nodes.Count);
    }

    [Fact]
    public void Dropped_tokens_and_convolutions_of_the_grid_do_not_go_together()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        ((TokenMethod)CompressionMethods.Get("random-tokens").Set("keep", "0.5").Set("blocks", "0")).Apply(model.Graph);
        Assert.Contains("sees only a part of the tokens",
            Assert.Throws<EspalierException>(CompressionJobs.Job(model, Method).Run).Message, StringComparison.Ordinal);

        using Model other = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        SearchedBlock[] blocks = Method.Blocks(other.Graph, Method.Selection);
        foreach (SearchedBlock block in blocks) block.Insert();
        blocks[0].Operations!.Hard[2] = 0;
        foreach (SearchedBlock block in blocks) block.Open();
        SPVit.Convert(CompressionJobs.Job(other, Method), blocks);
        TransformerBlock left = Assert.Single(TransformerBlocks.Of(other.Graph).Blocks);
        Assert.Equal("transformer.encoder.layer.1.attn.out.weight", left.Projection.Operands[1]!.Name);
        foreach (string method in new[] { "tome", "evit", "random-tokens", "dynamicvit", "patch-slimming" })
        {
            CompressionMethod shorter = CompressionMethods.Get(method);
            shorter = shorter with { TargetFlops = 0.9, TrainSteps = shorter.TrainsFirst ? 1 : 0 };
            Assert.Contains("whole grid of its tokens",
                Assert.Throws<EspalierException>(CompressionJobs.Job(other, shorter).Run).Message, StringComparison.Ordinal);
        }
    }

    /// <summary>A grid of 3 x 3.</summary>
    private static Model Wide() => CompressionJobs.Model(CompressionJobs.TinyVit, 12);

    private static Tensor Waves(Shape shape)
    {
        var x = new Tensor(shape);
        for (int i = 0; i < x.Length; i++) x.Span[i] = MathF.Sin(0.7f * i + 0.01f * i * i);
        return x;
    }

    /// <summary>Notes what was drawn, and the share that counts after a step.</summary>
    private sealed class Watch(GateSearch search, SearchedBlock[] blocks) : ITrainingHook
    {
        public List<double> Shares { get; } = [];

        public List<double[]> Drawn { get; } = [];

        public void BeforeForward(in StepContext context)
        {
            search.Evaluate();
            Shares.Add(search.Share);
            search.BeforeForward(context);
            Drawn.AddRange(blocks.Select(b => b.Operations!.Hard.ToArray()));
        }

        public void AfterBackward(in StepContext context) => search.AfterBackward(context);

        public void AfterStep(long step) => search.AfterStep(step);
    }
}
