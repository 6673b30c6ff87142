using Espalier.Compression;
using Espalier.Compression.Methods.Vtp;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class VtpTests
{
    private const string Block = "transformer.encoder.layer.0.";

    [Fact]
    public void Scores_of_one_change_nothing_and_fold_away()
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        Tensor images = TinyGolden.Images(0);
        float[] before = model.Graph.Run(images).ToArray();
        int nodes = model.Graph.Nodes.Count, weights = model.Graph.Weights.Count;
        DimensionGates gates = DimensionGates.Insert(model.Graph);
        Assert.Equal([12, 12, 12, 20, 12, 12, 12, 20], gates.Factors.Select(f => (int)f.Length));
        Assert.Equal(before, model.Graph.Run(images).ToArray());
        gates.Fold();
        DimensionGates.Tidy(model.Graph);
        Assert.Equal(before, model.Graph.Run(images).ToArray());
        Assert.Equal((nodes, weights), (model.Graph.Nodes.Count, model.Graph.Weights.Count));
    }

    /// <summary>Scores .9, .05, .4, -.7, .02, .3 at half: the published rule takes the one at the threshold, too.</summary>
    [Theory]
    [InlineData(VtpRule.Threshold, new[] { 1, 2, 4, 5 })]
    [InlineData(VtpRule.Count, new[] { 1, 4, 5 })]
    public void What_goes_at_a_ratio(VtpRule rule, int[] gone)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        using var graph = DependencyGraph.Build(model.Graph, TinyGolden.Images(0), HeadView.EachHead);
        ChannelGroup hidden = graph[Block + "ffn.fc1"];
        // What is beyond the six is far above the threshold and not ranked: it must stay.
        double[] scores = [0.9, 0.05, 0.4, 0.7, 0.02, 0.3, .. Enumerable.Repeat(9.0, 14)];
        var all = new ChannelScores().Set(hidden, scores, Enumerable.Range(6, 14));
        var selection = new SelectionOptions { Ratio = 3 / 20.0, Global = true, MinKept = 1, MinKeptShare = 0 };
        var method = new Vtp { Rule = rule, Ratio = 3 / 20.0 };
        Assert.Equal(gone, ChannelSelector.Choose(graph, all, method.ByRule(all, selection)).Channels[hidden.Name]);
    }

    [Fact]
    public void The_penalty_and_its_proximal_step()
    {
        Tensor a = Tensor.Parameter(new Shape(3));
        new[] { 0.5f, -2, 0 }.CopyTo(a.Span);
        using var sgd = new Sgd([new ParameterGroup("all", [("a", a)])]);
        var context = new StepContext(1, 1, 0, 0, 1, new Rng(1)) { Optimizer = sgd };
        using var scope = new Scope();
        using var recording = new Recording();
        recording.Backward(F.Sum(F.Affine(a, 0, 0)), 1);
        new L1Penalty([a], 1e-4f, "Lambda").AfterBackward(context);
        Assert.Equal([1e-4f, -1e-4f, 0], a.Grad!.ToArray());
        a.Grad.Fill(0);
        new[] { 0.05f, -0.3f, 0.4f }.CopyTo(a.Span);
        var proximal = new L1Penalty([a], 1, "Lambda", L1Step.Proximal);
        proximal.BeforeForward(context);
        proximal.AfterBackward(context);
        sgd.Step(0.1f);
        proximal.AfterStep(1);
        Assert.Equal(0, a.Span[0]);
        Assert.Equal(-0.2f, a.Span[1], 1e-7f);
        Assert.Equal(0.3f, a.Span[2], 1e-7f);

        // One that is not trained stays as it is.
        a.RequiresGrad = false;
        proximal.AfterStep(2);
        Assert.Equal(0.3f, a.Span[2], 1e-7f);
    }

    /// <summary>W = [[1, 2], [3, 4]] that reads x = (1, 1) by a = (0.5, 2).</summary>
    [Fact]
    public void Scores_go_into_the_columns_that_read_them()
    {
        using var scope = new Scope();
        Tensor w = Tensor.From(new Shape(2, 2), [1, 2, 3, 4]).Keep(), x = Tensor.From(new Shape(1, 2), [1, 1]);
        Graph graph = Graph.Trace(x => F.Linear(x, w), new Shape(2, 2), [("w", w)]);
        Gate gate = Gate.Insert(graph, graph.Inputs[0]);
        new[] { 0.5f, 2 }.CopyTo(gate.Factors.Span);
        Assert.Equal([4.5f, 9.5f], graph.Run(x).ToArray());
        Gate.Fold(graph, [gate]);
        Assert.Equal([0.5f, 4, 1.5f, 8], w.ToArray());
        Assert.Equal([4.5f, 9.5f], graph.Run(x).ToArray());
    }

    /// <summary>Parameters 2 (k1 D + D) + k1 k2 + k2 + k2 D + D + k3 k4 + k4 + k4 D + D + 4 D of a block of ViT-B/16, and its
    /// multiply-adds 197 (2 k1 D + k1 k2 + k2 D + k3 k4 + k4 D) + 197² (D + k2).</summary>
    [Theory]
    [InlineData(614, 614, 614, 2458, 5_197_824)]
    [InlineData(461, 461, 461, 1843, 3_548_160)]
    public void Costs_of_a_block(int k1, int k2, int k3, int k4, long parameters)
    {
        const int d = 768, tokens = 197;
        using var scope = new Scope();
        using Model model = Model.FromModule(new VisionTransformer(new VitConfig
        {
            ImageSize = 224, PatchSize = 16, Channels = 3, HiddenSize = d, MlpDim = 4 * d, NumHeads = 12, NumLayers = 1,
            NumClasses = 2,
        }));
        DimensionGates gates = DimensionGates.Insert(model.Graph);
        gates.Fold();
        using var graph = DependencyGraph.Build(model.Graph, Tensor.Zeros(new Shape(1, 3, 224, 224)), HeadView.EachHead);
        ChannelScores scores = gates.Scores(graph, new SelectionOptions
        {
            Ratio = 0.5, Groups = ChannelKind.Channels | ChannelKind.Hidden | ChannelKind.Value,
        }, columns: false);
        var plan = new RemovalPlan();
        foreach (var (group, keep) in scores.Groups.Keys.Zip([k1, k2, k3, k4]))
            plan.Add(group, scores.InOrder(group).Take(group.Count - keep));
        PlanSummary summary = PlanSummary.Of(graph, plan);
        Assert.Equal(7_087_872 - parameters, summary.ParametersBefore - summary.ParametersAfter);
        Assert.Equal(1_453_954_560, Work(d, d, d, 4 * d));
        Assert.Equal(Work(d, d, d, 4 * d) - Work(k1, k2, k3, k4), summary.MultiplyAddsBefore - summary.MultiplyAddsAfter);

        static long Work(long k1, long k2, long k3, long k4) =>
            tokens * (2 * k1 * d + k1 * k2 + k2 * d + k3 * k4 + k4 * d) + tokens * tokens * (d + k2);
    }

    [Fact]
    public void Four_steps_as_PyTorch_does_them()
    {
        using var scope = new Scope();
        var golden = new TinyGolden("Vtp", "vtp.json");
        using Model model = golden.Model();
        DimensionGates gates = DimensionGates.Insert(model.Graph);
        double[] losses = TinyGolden.Train(model, golden.Number("rate"), 4, new L1Penalty(gates.Factors, golden.Number("lambda"),
            "Lambda", decay: false));
        TinyGolden.Close(golden["losses"], [.. losses.Select(l => (float)l)]);
        foreach (var (expected, factors) in golden.Root.GetProperty("scores").EnumerateArray().Zip(gates.Factors))
            TinyGolden.Close(TinyGolden.Numbers(expected), factors.Span);
        foreach (var weight in golden.Root.GetProperty("weights").EnumerateObject())
            TinyGolden.Close(TinyGolden.Numbers(weight.Value), model.Graph.Weights[weight.Name].Tensor.Span);

        gates.Fold();
        using var graph = DependencyGraph.Build(model.Graph, TinyGolden.Images(0), HeadView.EachHead);
        var selection = new SelectionOptions
        {
            Ratio = golden.Number("share"), Global = true, MinKept = 1, MinKeptShare = 0,
            Groups = ChannelKind.Channels | ChannelKind.Hidden | ChannelKind.Value,
        };
        ChannelScores scores = gates.Scores(graph, selection, columns: false);
        RemovalPlan plan = ChannelSelector.Choose(graph, scores, selection);
        int[][] gone = [.. golden.Root.GetProperty("gone").EnumerateArray()
            .Select(g => TinyGolden.Numbers(g).Select(k => (int)k).ToArray())];
        Assert.Equal(gone, scores.Groups.Keys.Select(g => plan.Channels.GetValueOrDefault(g.Name, [])));
        Assert.InRange(Removal.Apply(graph, plan, new RemovalOptions(MoveConstants: false)).Difference, 0, 1e-5f);
        TinyGolden.Close(golden["logits"], model.Graph.Run(TinyGolden.Images(9)).Span);
    }

    /// <summary>The network whose dropped scores are zero is the smaller one, with heads of different widths, in ONNX Runtime,
    /// too.</summary>
    [Fact]
    public void Cut_is_the_same_as_scores_of_zero()
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        Tensor images = TinyGolden.Images(0);
        DimensionGates gates = DimensionGates.Insert(model.Graph);
        var rng = new Rng(3);
        foreach (Tensor f in gates.Factors) foreach (ref float a in f.Span) a = rng.NextFloat(-0.2f, 1.5f);
        int[][] zero = [[0, 7], [1, 4, 5, 6], [11], [3, 19], [2, 3, 4], [8, 9], [0, 1, 2, 3], [10]];
        foreach (var (f, places) in gates.Factors.Zip(zero)) foreach (int k in places) f.Span[k] = 0;
        float[] masked = model.Graph.Run(images).ToArray();
        gates.Fold();
        using (var graph = DependencyGraph.Build(model.Graph, images, HeadView.EachHead))
        {
            ChannelScores scores = gates.Scores(graph, new SelectionOptions
            {
                Ratio = 0.5, Groups = ChannelKind.Channels | ChannelKind.Hidden | ChannelKind.Value,
            }, columns: true);
            var plan = new RemovalPlan();
            foreach (var (group, places) in scores.Groups.Keys.Zip(zero))
            {
                Assert.Equal(places, scores.InOrder(group).Take(places.Length).Order());
                plan.Add(group, places);
            }
            Removal.Apply(graph, plan, new RemovalOptions(MoveConstants: false));
        }
        Assert.InRange(Removal.Difference(masked, model.Graph.Run(images).ToArray()), 0, 1e-5f);
        string onnx = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.onnx");
        model.ExportOnnx(onnx);
        float[] there = OnnxRuntime.Floats(OnnxRuntime.Run(onnx, images.Span, 8)["logits"]);
        File.Delete(onnx);
        Assert.InRange(Removal.Difference(masked, there), 0, 1e-5f);
        TransformerBlock block = TransformerBlocks.Of(model.Graph).Blocks[0];
        Assert.Equal(new HeadLayout([4, 4, 4], [3, 1, 4]), block.Heads);
        Assert.Equal(new Shape(18, 11), block.Fc1.Op.Inputs[1].Shape);
    }

    [Fact]
    public void No_weight_decay_draws_at_scores()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        Tensor[] factors = DimensionGates.Insert(model.Graph).Factors;
        ITrainingHook penalty = new L1Penalty(factors, 1, "Lambda", decay: false);
        var task = new ClassifierTask(model, new ClassifierTaskOptions { Hooks = [penalty] });
        Assert.Equal([null, 0f], task.ParameterGroups.Select(g => g.WeightDecay));
        Assert.Equal(factors, task.ParameterGroups[1].Parameters.Select(p => p.Value));
        Assert.Equal(model.Graph.Parameters.Count(), task.ParameterGroups.Sum(g => g.Parameters.Count));
    }

    [Fact]
    public void What_cannot_be_reached_is_refused_before_the_first_step()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        (string, float[])[] before = [.. model.Graph.Weights.Values.Select(w => (w.Name, w.Tensor.ToArray()))];
        CompressionJob job = CompressionJobs.Job(model, new Vtp { TargetFlops = 0.01, TrainSteps = 5 });
        Assert.Contains("no width reaches 0.01", Assert.Throws<OutOfReachException>(job.Run).Message);
        Assert.Empty(job.Stages);
        Assert.Equal(before, model.Graph.Weights.Values.Select(w => (w.Name, w.Tensor.ToArray())));
        job = CompressionJobs.Job(model, new Vtp { TrainSteps = 5, Training = new() { TrainOnly = ["head"] } });
        Assert.Contains("leave TrainOnly out", Assert.Throws<EspalierException>(job.Run).Message);
        using Model cnn = CompressionJobs.Model("resnet20");
        Assert.Contains("TrainSteps is 0", Assert.Throws<EspalierException>(CompressionJobs.Job(model, new Vtp()).Run).Message);
        job = CompressionJobs.Job(cnn, new Vtp { TrainSteps = 1 });
        Assert.Contains("no vision transformer", Assert.Throws<EspalierException>(job.Run).Message);
    }

    [Fact]
    public void A_stopped_run_ends_as_if_it_had_not_been()
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model(CompressionJobs.TinyVit, 8), new Vtp
        {
            Ratio = 0.4, TrainSteps = 4, FineTuneSteps = 3, Rounds = 1, Step = L1Step.Proximal,
            Training = new() { Optimizer = "adamw", LearningRate = 2e-3f, WeightDecay = 0.05f },
        });
        Assert.Equal(whole, resumed);
    }
}
