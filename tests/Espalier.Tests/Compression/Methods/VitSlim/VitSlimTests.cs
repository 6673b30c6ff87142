using Espalier.Compression;
using Espalier.Compression.Methods.VitSlim;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class VitSlimTests
{
    /// <summary>Masks of dimensions and units at 1 change nothing; those of tokens scale by tanh(3), whose slope there is small.
    /// </summary>
    [Fact]
    public void Masks_as_they_begin()
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        Tensor images = TinyGolden.Images(0);
        float[] before = model.Graph.Run(images).ToArray();
        int nodes = model.Graph.Nodes.Count;
        var masks = new SoftMasks(model.Graph, new VitSlim { TokenWeight = 0 });
        Assert.Equal(before, model.Graph.Run(images).ToArray());
        Assert.All(masks.Blocks, b => Assert.Equal((12, 20, null), ((int)b.Attention!.Length, (int)b.Hidden!.Length, b.Tokens)));
        masks.TakeOut(fold: false);
        Assert.Equal(nodes, model.Graph.Nodes.Count);
        Assert.Equal(before, model.Graph.Run(images).ToArray());

        masks = new SoftMasks(model.Graph, new VitSlim());
        Assert.Equal([0, 1, 2, 3, 4], masks.Blocks[1].Ids);
        Tensor tokens = masks.Blocks[0].Tokens!;
        GraphValue norm = TransformerBlocks.Of(model.Graph).Blocks[0].AttentionNorm.Output;
        GraphNode masked = model.Graph.Nodes.Single(n => n.Op is MulOp && n.Operands[0] == norm);
        Tensor[] pair = model.Graph.Between(model.Graph.Inputs, [norm, masked.Output]).Run([images]);
        for (int i = 0; i < pair[0].Length; i++) Assert.Equal(0.9950547537f * pair[0].Span[i], pair[1].Span[i], 1e-6f);
        using var recording = new Recording();
        recording.Backward(F.Sum(F.Tanh(tokens)), 1);
        Assert.All(tokens.Grad!.ToArray(), g => Assert.Equal(0.0098660372f, g, 1e-6f));
        masks.TakeOut(fold: true);
        Assert.Equal(before, model.Graph.Run(images).ToArray());
    }

    /// <summary>q = (1, 2), k = (3, 4) and masks (1, 0.5): 5 in place of 11.</summary>
    [Fact]
    public void Masks_are_squared_in_the_logits()
    {
        using var scope = new Scope();
        Tensor zeta = Tensor.From(new Shape(2), [1, 0.5f]);
        Tensor q = Tensor.From(new Shape(2), [1, 2]), k = Tensor.From(new Shape(2), [3, 4]);
        float logit = F.Sum(F.Mul(F.Mul(q, zeta), F.Mul(k, zeta))).Item();
        Assert.Equal(5, logit);
        Assert.Equal(3.5355339f, logit / MathF.Sqrt(2), 1e-6f);
    }

    [Theory]
    [InlineData(0.7, 10, SlimRule.Threshold, 3)]
    [InlineData(0.7, 4608, SlimRule.Threshold, 1382)]
    [InlineData(0.7, 18432, SlimRule.Threshold, 5529)]
    // 1 - 0.9 is a little less than a tenth.
    [InlineData(0.9, 10, SlimRule.Threshold, 0)]
    [InlineData(0.9, 10, SlimRule.Count, 1)]
    [InlineData(0.8, 10, SlimRule.Threshold, 1)]
    [InlineData(0.8, 10, SlimRule.Count, 2)]
    public void How_many_go(double budget, int count, SlimRule rule, int gone)
    {
        double[] values = [.. Enumerable.Range(0, count).Select(i => (double)((i * 7919) % 20011))];
        bool[] stays = Assert.Single(SubNetwork.Choose([values], budget, rule, _ => 0));
        Assert.Equal(gone, stays.Count(s => !s));
        Assert.Equal(values.Order().Take(gone), values.Where((_, i) => !stays[i]).Order());
    }

    [Fact]
    public void Tokens_that_a_later_block_needs_stay_in_all_before()
    {
        double[][] values = [[0.2, 0.9, 0.1, 0.8], [0.7, 0.1, 0.1, 0.9], [0.1, 0.1, 0.6, 0.9]];
        bool[][] tokens = [.. values.Select(v => v.Select(x => x >= 0.5).ToArray())];
        SubNetwork.Nest(tokens);
        Assert.Equal([[true, true, true, true], [true, false, true, true], [false, false, true, true]], tokens);
    }

    /// <summary>DeiT-S's counts of masks; attention's parameters 3 D s + 3 s + s D + D and the MLP's 2 D m + D + m.</summary>
    [Fact]
    public void Costs_of_a_block_of_deit_s()
    {
        const int d = 384, s = 269, m = 1075;
        using var scope = new Scope();
        using Model model = Model.FromModule(new VisionTransformer(new VitConfig
        {
            ImageSize = 224, PatchSize = 16, Channels = 3, HiddenSize = d, MlpDim = 1536, NumHeads = 6, NumLayers = 1,
            NumClasses = 2,
        }));
        Graph masked = model.Graph.Between(model.Graph.Inputs, model.Graph.Outputs);
        var masks = new SoftMasks(masked, new VitSlim());
        BlockMasks only = Assert.Single(masks.Blocks);
        Tensor[] all = [only.Attention!, only.Hidden!, only.Tokens!];
        Assert.Equal([4608, 18_432, 2364], all.Select(m => 12 * (int)m.Length));
        var small = new SubNetwork([new BlockKept(First(d, s), First(1536, m), only.Ids)]);
        using var channels = DependencyGraph.Build(model.Graph, Tensor.Zeros(new Shape(1, 3, 224, 224)), HeadView.EachHead);
        PlanSummary summary = PlanSummary.Of(channels, small.Plan(channels));
        Assert.Equal(591_360 - 414_375 + 1_181_568 - 827_059, summary.ParametersBefore - summary.ParametersAfter);

        static bool[] First(int count, int kept) => [.. Enumerable.Range(0, count).Select(i => i < kept)];
    }

    /// <summary>What masks of tokens leave out is really gone: zeroed tokens would still take part in attention.</summary>
    [Fact]
    public void Zeroing_is_not_removal()
    {
        using var scope = new Scope();
        Tensor zero = Tensor.Zeros(new Shape(1, 2, 1)), v = Tensor.From(new Shape(1, 2, 1), [-4 * 1 + 5, -4 * 0 + 5]);
        HeadLayout head = HeadLayout.Uniform(1, 1);
        Assert.Equal(3, F.Attention(zero, zero, v, head, 1).Span[0]);
        Assert.Equal(1, F.Attention(zero, zero, v, head, 1, keyMask: Tensor.From(new Shape(1, 2), [1, 0])).Span[0]);
    }

    [Fact]
    public void The_penalty()
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        var masks = new SoftMasks(model.Graph, new VitSlim { AttentionWeight = 0.5, HiddenWeight = 0.25, TokenWeight = 2 });
        masks.Blocks[0].Attention!.Span[3] = -1;
        var pass = new TrainingPass(TinyGolden.Batch(0), TinyGolden.Images(0), Tensor.Zeros(new Shape(8, 10)), null);
        using var recording = new Recording();
        Tensor loss = masks.Loss(pass, new StepContext(1, 1, 0, 0, 1, new Rng(1)))!;
        Assert.Equal(2 * (0.5 * 12 + 0.25 * 20 + 2 * 5 * Math.Tanh(3)), loss.Item(), 1e-4);
        recording.Backward(loss, 1);
        Assert.Equal([0.5f, 0.5f, 0.5f, -0.5f], masks.Blocks[0].Attention!.Grad!.ToArray()[..4]);
        Assert.All(masks.Blocks[1].Hidden!.Grad!.ToArray(), g => Assert.Equal(0.25f, g));
        Assert.All(masks.Blocks[1].Tokens!.Grad!.ToArray(), g => Assert.Equal(2 * 0.0098660372f, g, 1e-6f));
    }

    [Fact]
    public void Four_steps_as_PyTorch_does_them()
    {
        using var scope = new Scope();
        var golden = new TinyGolden("VitSlim", "vit-slim.json");
        using Model model = golden.Model();
        var weights = golden.Root.GetProperty("weights");
        var budgets = golden.Root.GetProperty("budgets");
        var method = new VitSlim
        {
            AttentionWeight = weights.GetProperty("attention").GetDouble(),
            HiddenWeight = weights.GetProperty("hidden").GetDouble(),
            TokenWeight = weights.GetProperty("tokens").GetDouble(), TokenStart = 1, Rule = SlimRule.Threshold,
            Attention = budgets.GetProperty("attention").GetDouble(), Hidden = budgets.GetProperty("hidden").GetDouble(),
            Tokens = budgets.GetProperty("tokens").GetDouble(), Selection = new() { Ratio = 0.5, MinKept = 1, MinKeptShare = 0 },
        };
        var masks = new SoftMasks(model.Graph, method);
        double[] losses = TinyGolden.Train(model, golden.Number("rate"), 4, masks);
        TinyGolden.Close(golden["losses"], [.. losses.Select(l => (float)l)]);
        var learnt = golden.Root.GetProperty("masks");
        for (int b = 0; b < 2; b++)
        {
            TinyGolden.Close(TinyGolden.Numbers(learnt.GetProperty("attention")[b]), masks.Blocks[b].Attention!.Span);
            TinyGolden.Close(TinyGolden.Numbers(learnt.GetProperty("hidden")[b]), masks.Blocks[b].Hidden!.Span);
            TinyGolden.Close(TinyGolden.Numbers(learnt.GetProperty("tokens")[b]), masks.Blocks[b].Tokens!.Span);
        }
        foreach (var value in golden.Root.GetProperty("values").EnumerateObject())
            TinyGolden.Close(TinyGolden.Numbers(value.Value), model.Graph.Weights[value.Name].Tensor.Span);

        SubNetwork small = method.At(0.5, MaskRanking.Of(masks, magnitude: false));
        masks.TakeOut(fold: false);
        var kept = golden.Root.GetProperty("kept");
        for (int b = 0; b < 2; b++)
        {
            Assert.Equal(TinyGolden.Numbers(kept.GetProperty("attention")[b]), Places(small.Kept[b].Attention));
            Assert.Equal(TinyGolden.Numbers(kept.GetProperty("hidden")[b]), Places(small.Kept[b].Hidden));
            Assert.Equal(TinyGolden.Numbers(kept.GetProperty("tokens")[b]), small.Kept[b].Tokens.Select(t => (double)t));
        }
        small.DropTokens(model.Graph);
        using (var channels = DependencyGraph.Build(model.Graph, TinyGolden.Images(0), HeadView.EachHead))
        {
            RemovalReport report = Removal.Apply(channels, small.Plan(channels), new RemovalOptions(MoveConstants: false));
            Assert.InRange(report.Difference, 0, 1e-5f);
        }
        TinyGolden.Close(golden["logits"], model.Graph.Run(TinyGolden.Images(9)).Span);

        static double[] Places(bool[] stays) => [.. stays.Index().Where(s => s.Item).Select(s => (double)s.Index)];
    }

    /// <summary>Heads of unequal widths, one of which is gone, and few tokens: in the graph, in ONNX Runtime, with and without
    /// what masks have learnt.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Cut_is_the_same_as_masks(bool fold)
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        Tensor images = TinyGolden.Images(0);
        var masks = new SoftMasks(model.Graph, new VitSlim { TokenWeight = 0 });
        var rng = new Rng(4);
        foreach (BlockMasks block in masks.Blocks)
        {
            foreach (ref float z in block.Attention!.Span) z = fold ? rng.NextFloat(0.3f, 1.5f) : 1;
            foreach (ref float z in block.Hidden!.Span) z = fold ? rng.NextFloat(0.3f, 1.5f) : 1;
            foreach (int i in (int[])[0, 4, 5, 6, 7, 10]) block.Attention.Span[i] = 0;
            foreach (int i in (int[])[1, 2, 19]) block.Hidden.Span[i] = 0;
        }
        float[] masked = model.Graph.Run(images).ToArray();
        SubNetwork chosen = new VitSlim { Selection = new() { Ratio = 0.5 }, Attention = 0.5, Hidden = 0.85 }
            .At(1, MaskRanking.Of(masks, magnitude: false));
        masks.TakeOut(fold);
        var small = new SubNetwork([chosen.Kept[0], chosen.Kept[1] with { Tokens = [0, 2, 3] }]);
        using (var channels = DependencyGraph.Build(model.Graph, images, HeadView.EachHead))
            Removal.Apply(channels, small.Plan(channels), new RemovalOptions(MoveConstants: false));
        Assert.InRange(Removal.Difference(masked, model.Graph.Run(images).ToArray()), 0, 1e-5f);
        Assert.Equal(new HeadLayout([3, 3], [3, 3]), TransformerBlocks.Of(model.Graph).Blocks[0].Heads);
        float[] expected = small.MaskedTokens(model.Graph, images);
        small.DropTokens(model.Graph);
        Assert.Equal(3, TransformerBlocks.Of(model.Graph).Blocks[1].Input.Tensor.Rows!.MaxLength);
        Assert.InRange(Removal.Difference(expected, model.Graph.Run(images).ToArray()), 0, 1e-5f);
        Assert.True(Removal.Difference(masked, expected) > 1e-3f);
        string onnx = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.onnx");
        model.ExportOnnx(onnx);
        float[] there = OnnxRuntime.Floats(OnnxRuntime.Run(onnx, images.Span, 8)["logits"]);
        File.Delete(onnx);
        Assert.InRange(Removal.Difference(expected, there), 0, 1e-5f);
    }

    /// <summary>Heads stay or go whole, or stay alike, whatever share of the masks a budget asks for.</summary>
    [Theory]
    [InlineData(MaskShare.Head, SlimRule.Threshold)]
    [InlineData(MaskShare.Head, SlimRule.Count)]
    [InlineData(MaskShare.Dimension, SlimRule.Threshold)]
    [InlineData(MaskShare.Dimension, SlimRule.Count)]
    public void Dimensions_may_share_masks(MaskShare shared, SlimRule rule)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        CompressionJobs.Job(model, new VitSlim
        {
            Ratio = 0.4, Shared = shared, TrainSteps = 2, TokenWeight = 0, Rule = rule,
        }).Run();
        Assert.All(TransformerBlocks.Of(model.Graph).Blocks, b => Assert.True(b.Heads.IsUniform, $"{b.Heads}"));
    }

    [Fact]
    public void Frozen_weights_stay_while_masks_and_norms_learn()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        var masks = new SoftMasks(model.Graph, new VitSlim { FreezeWeights = true });
        Dictionary<string, float[]> before = model.Graph.Parameters.ToDictionary(p => p.Name, p => p.Value.ToArray());
        TinyGolden.Train(model, 0.1f, 2, masks);
        foreach (var (name, value) in model.Graph.Parameters)
        {
            bool learns = name.Contains("norm", StringComparison.Ordinal) || name.StartsWith("zeta", StringComparison.Ordinal);
            Assert.True(learns != before[name].AsSpan().SequenceEqual(value.Span), name);
        }
    }

    /// <summary>One search, two budgets: the second run reads what the first one wrote.</summary>
    [Fact]
    public void A_search_serves_any_budget()
    {
        string file = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");
        var method = new VitSlim { Searched = file, TrainSteps = 3, TokenStart = 1, Training = new() { LearningRate = 0.05f } };
        try
        {
            var costs = new List<double>();
            foreach (double target in (double[])[0.7, 0.5, 0.7])
            {
                using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
                double whole = model.Graph.CostPerImage.MultiplyAdds;
                CompressionJob job = CompressionJobs.Job(model, method with { TargetFlops = target });
                job.Run();
                Assert.Equal(costs.Count == 0 ? ["search"] : [], job.Stages.Select(s => s.Name));
                Assert.All(job.Removals, r => Assert.InRange(r.Difference, 0, 1e-5f));
                costs.Add(model.Graph.CostPerImage.MultiplyAdds / whole);
            }
            Assert.InRange(costs[0], 0.5, 0.7);
            Assert.InRange(costs[1], 0.3, 0.5);
            Assert.Equal(costs[0], costs[2]);
            using Model other = Model.Create("vit-tiny-28");
            CompressionJob wrong = CompressionJobs.Job(other, method);
            Assert.Contains("no search of this network", Assert.Throws<EspalierException>(wrong.Run).Message);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void What_it_cannot_do_is_refused_before_the_first_step()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        (string, float[])[] before = [.. model.Graph.Weights.Values.Select(w => (w.Name, w.Tensor.ToArray()))];
        Refused("no budget reaches 0.01", new VitSlim { TargetFlops = 0.01, TrainSteps = 5 });
        // What is to stay whole is part of the least, so that nothing is searched for it in vain.
        Refused("no budget reaches 0.3", new VitSlim { TargetFlops = 0.3, Hidden = 1, Tokens = 1, TrainSteps = 5 });
        Refused("leave TrainOnly out", new VitSlim { TrainSteps = 5, Training = new() { TrainOnly = ["head"] } });
        Refused("searches nothing", new VitSlim { AttentionWeight = 0, HiddenWeight = 0, TokenWeight = 0, TrainSteps = 5 });
        Refused("Rounds is 1", new VitSlim { Rounds = 2 });
        Refused("one ratio", new VitSlim { TargetLatency = 3 });
        Assert.Equal(before, model.Graph.Weights.Values.Select(w => (w.Name, w.Tensor.ToArray())));

        void Refused(string why, VitSlim method)
        {
            CompressionJob job = CompressionJobs.Job(model, method);
            Assert.Contains(why, Assert.Throws<EspalierException>(job.Run).Message);
            Assert.Empty(job.Stages);
        }
    }

    /// <summary>Of masks that are all alike the published threshold lets everything stay, but for a budget of nothing.</summary>
    [Fact]
    public void The_least_is_a_budget_as_well()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        long before = model.Graph.CostPerImage.MultiplyAdds;
        CompressionJobs.Job(model, new VitSlim
        {
            TargetFlops = 0.5, TrainSteps = 1, TokenWeight = 0, Rule = SlimRule.Threshold, Training = new() { LearningRate = 0 },
        }).Run();
        Assert.InRange(model.Graph.CostPerImage.MultiplyAdds, 1, before / 2);
    }

    /// <summary>A norm of a head's queries ties their dimensions: there is no mask for one of them.</summary>
    [Fact]
    public void Heads_whose_queries_have_norms_stay_or_go_whole()
    {
        var method = new VitSlim { Ratio = 0.4, TrainSteps = 2, TokenWeight = 0 };
        using Model model = TokenNets.Vit(classes: 10, form: new VitForm { QueryKeyNorm = true });
        Assert.Contains("norms of each head", Assert.Throws<EspalierException>(CompressionJobs.Job(model, method).Run).Message);
        CompressionJob job = CompressionJobs.Job(model, method with { Shared = MaskShare.Head });
        job.Run();
        Assert.All(job.Removals, r => Assert.InRange(r.Difference, 0, 1e-4f));
        Assert.Contains(TransformerBlocks.Of(model.Graph).Blocks, b => b.Heads.Count < TokenNets.Small.NumHeads);
    }

    [Theory]
    [InlineData(VitPool.Mean)]
    [InlineData(VitPool.ClassAndMean)]
    public void Tokens_stay_where_the_head_reads_them(VitPool pool)
    {
        using Model model = TokenNets.Vit(classes: 10, form: new VitForm { Pool = pool });
        var method = new VitSlim { Ratio = 0.3, TrainSteps = 1 };
        Assert.Contains("reads the patches", Assert.Throws<EspalierException>(CompressionJobs.Job(model, method).Run).Message);
        CompressionJobs.Job(model, method with { TokenWeight = 0 }).Run();
    }

    [Fact]
    public void A_stopped_run_ends_as_if_it_had_not_been()
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model(CompressionJobs.TinyVit, 8), new VitSlim
        {
            TargetFlops = 0.6, TrainSteps = 4, FineTuneSteps = 3, TokenStart = 1,
            Training = new() { Optimizer = "adamw", LearningRate = 2e-3f, WeightDecay = 0.05f },
        });
        Assert.Equal(whole, resumed);
    }
}
