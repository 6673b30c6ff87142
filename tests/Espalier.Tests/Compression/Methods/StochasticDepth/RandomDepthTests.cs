using Espalier.Compression;
using Espalier.Compression.Methods.StochasticDepth;
using Espalier.Models;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Tests.Distributed;
using Espalier.Tests.Training;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class RandomDepthTests
{
    private static readonly StepContext Step = new(1, 1, 0, 0, 1, new Rng(1));

    [Theory]
    [InlineData("resnet20")]
    [InlineData("resnet18")]
    public void Closed_branches_learn_nothing_and_the_rest_does(string network)
    {
        using Model model = CompressionJobs.Model(network, 32);
        using var depth = new RandomDepth(model.Graph, new StochasticDepth());
        Array.Fill(depth.Open, false);
        Dictionary<string, float[]> before = model.Graph.Weights.Values.ToDictionary(w => w.Name, w => w.Tensor.ToArray());

        Backward(model, depth);

        foreach (GraphValue weight in model.Graph.Weights.Values)
        {
            bool branch = weight.Name.StartsWith("layer", StringComparison.Ordinal) && !weight.Name.Contains("downsample");
            if (!weight.Tensor.RequiresGrad) Assert.Equal(branch, before[weight.Name].SequenceEqual(weight.Tensor.ToArray()));
            else if (branch) Assert.All(weight.Tensor.Grad!.ToArray(), g => Assert.Equal(0, g));
            else Assert.Contains(weight.Tensor.Grad!.ToArray(), g => g != 0);
        }
    }

    /// <summary>Momentum and decay move weights that had no part in a step, or leave them where they are to be frozen.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Skipped_weights_move_unless_frozen(bool freeze)
    {
        using Model model = CompressionJobs.Model("resnet20");
        using var depth = new RandomDepth(model.Graph, new StochasticDepth { FreezeSkipped = freeze });
        using var sgd = new Sgd(ParameterGroup.Of(model.Graph), momentum: 0.9f, weightDecay: 0.1f);
        Backward(model, depth);
        sgd.Step(0.01f);
        foreach (var (_, parameter) in model.Graph.Parameters) parameter.ClearGrad();
        depth.Open[4] = false;
        Tensor weight = depth.Branches[4].Weights[0].Tensor;
        float[] before = weight.ToArray();
        Backward(model, depth);
        Assert.Equal(freeze, weight.Grad is null);
        sgd.Step(0.01f);
        Assert.Equal(freeze, before.SequenceEqual(weight.ToArray()));
    }

    /// <summary>Whether an image, or the step, goes through a branch is drawn once, also where the branch is computed
    /// twice.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Checkpointed_activations_give_the_same_weights(bool perSample) => CheckpointedActivationsTests.AssertSameRun(
        () => RanksTests.New("resnet20"),
        model => new ClassifierTask(model, new ClassifierTaskOptions
        {
            Hooks = [new RandomDepth(model.Graph, new StochasticDepth { PerSample = perSample, Survival = 0.5 })],
        }));

    /// <summary>What is drawn once a step, every rank draws, and alike.</summary>
    [Fact]
    public void Ranks_leave_out_the_same_branches()
    {
        using Model one = RanksTests.New("vit-tiny-28");
        RanksTests.Train(one, Shallow(one), RanksTests.Options with { GradientAccumulationSteps = 2 });
        Model[] ranks = MemoryRanks.Run(2, r =>
        {
            Model own = RanksTests.New("vit-tiny-28");
            RanksTests.Train(own, Shallow(own), RanksTests.Options with { Ranks = r });
            return own;
        });
        foreach (Model rank in ranks) RanksTests.AssertSame(one, rank, 2e-5f, statistics: false);
        foreach (Model m in ranks) m.Dispose();

        static ClassifierTask Shallow(Model model) => new(model, new ClassifierTaskOptions
        {
            Hooks = [new RandomDepth(model.Graph, new StochasticDepth { Rule = SurvivalRule.Uniform, Survival = 0.5 })],
        });
    }

    [Fact]
    public void Micro_batches_of_a_step_share_their_draws_and_steps_differ()
    {
        using Model model = CompressionJobs.Model("resnet56", width: 0.125);
        using var depth = new RandomDepth(model.Graph, new StochasticDepth { Rule = SurvivalRule.Uniform, Survival = 0.5 });
        var patterns = new List<string>();
        foreach (var (step, part) in new[] { (1L, 0), (1L, 1), (2L, 0), (1L, 0) })
        {
            depth.ForStep(model.Graph, new StepContext(step, 9, 0, part, 2, new Rng(5, (ulong)step, (ulong)part)));
            patterns.Add(string.Concat(depth.Open.Select(o => o ? '1' : '0')));
        }
        Assert.Equal(patterns[0], patterns[1]);
        Assert.NotEqual(patterns[0], patterns[2]);
        Assert.Equal(patterns[0], patterns[3]);
        Assert.InRange(patterns[0].Count(c => c == '1'), 5, 22);
    }

    /// <summary>relu(x + branch(x)) of x = (1, -2) and a branch that makes (2, -1) of it.</summary>
    [Theory]
    [InlineData(true, false, new float[] { 3, 0 })]
    [InlineData(false, false, new float[] { 1, 0 })]
    [InlineData(null, false, new[] { 2.5f, 0 })]                          // relu(2.5, -2.75)
    [InlineData(true, true, new[] { 1 + 2 / 0.75f, 0 })]
    [InlineData(false, true, new float[] { 1, 0 })]
    [InlineData(null, true, new float[] { 3, 0 })]
    public void One_block(bool? open, bool inverted, float[] expected)
    {
        using var scope = new Scope();
        Graph graph = Toy(relu: true);
        Assert.Equal("block", Assert.Single(ResidualBranch.Find(graph)).Name);
        using var depth = new RandomDepth(graph, new StochasticDepth { Survival = 0.75, Inverted = inverted });
        depth.Open[0] = open ?? true;
        Graph run = open is null ? graph : depth.Drawn(graph);
        Assert.Equal(expected, run.Run(Tensor.From(new Shape(1, 2), [1, -2])).ToArray());
        Assert.Equal(open != false, run.Nodes.Any(n => n.Op is LinearOp));
        depth.Fold();
        Assert.Equal(inverted ? [3, 0] : [2.5f, 0], graph.Run(Tensor.From(new Shape(1, 2), [1, -2])).ToArray());
        Assert.DoesNotContain(graph.Nodes, n => n.Op is AffineOp or DropoutOp);
    }

    /// <summary>Images of which some go without the branch, others with it.</summary>
    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 4 / 3.0)]
    public void Draws_per_sample(bool inverted, double scale)
    {
        using var scope = new Scope();
        Graph graph = Toy(relu: false);
        using var depth = new RandomDepth(graph, new StochasticDepth { Survival = 0.75, PerSample = true, Inverted = inverted });
        Assert.Same(graph, depth.ForStep(graph, Step));
        Tensor images = Tensor.Full(new Shape(400, 2), 1);
        float[] y = graph.Run(images, new RunContext(Training: true)).ToArray();
        float[][] kinds = [.. y.Chunk(2).DistinctBy(row => row[0]).OrderBy(row => row[0])];
        Assert.Equal(2, kinds.Length);
        Assert.Equal([1f, 1], kinds[0]);
        Assert.Equal(1 + 2 * scale, kinds[1][0], 1e-6);
        Assert.Equal(1 + 0.5 * scale, kinds[1][1], 1e-6);
        Assert.InRange(y.Chunk(2).Count(row => row[0] == 1), 60, 140);
        Assert.All(graph.Run(images).ToArray().Chunk(2), row => Assert.Equal(inverted ? 3 : 2.5f, row[0], 1e-6f));
    }

    [Fact]
    public void Evaluation_uses_the_inference_rule_whatever_was_drawn()
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model("resnet20");
        Tensor images = CompressionJobs.Job(model, new CompressionOptions()).Example(3);
        float[] plain = model.Graph.Run(images).ToArray();
        using var depth = new RandomDepth(model.Graph, new StochasticDepth { Survival = 0.5 });
        Array.Fill(depth.Open, false);
        float[] first = model.Graph.Run(images).ToArray();
        Array.Fill(depth.Open, true);
        Assert.Equal(first, model.Graph.Run(images).ToArray());
        Assert.True(Removal.Difference(plain, first) > 1e-3f);
        depth.Dispose();
        Assert.Equal(plain, model.Graph.Run(images).ToArray());
    }

    /// <summary>Branches that end with a batch norm, with one and a pooling, with a convolution or a linear layer.</summary>
    [Theory]
    [InlineData("resnet18", 32)]
    [InlineData("resnet50", 32)]
    [InlineData("mobilenet_v2", 32)]
    [InlineData("efficientnet_b0", 32)]
    [InlineData("xception", 71)]
    [InlineData("preresnet164", 16)]
    [InlineData("resnet20", 16, true)]
    [InlineData(CompressionJobs.TinyVit, 8)]
    [InlineData(CompressionJobs.TinyHybrid, 32)]
    public void Folding_gives_what_evaluation_gave(string network, int size, bool narrow = false)
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model(network, size, 0.125);
        if (narrow) LoseFilters(model);
        Tensor images = CompressionJobs.Job(model, new CompressionOptions()).Example(2);
        float[] plain = model.Graph.Run(images).ToArray();
        using var depth = new RandomDepth(model.Graph, new StochasticDepth { Survival = 0.5 });
        float[] gated = model.Graph.Run(images).ToArray();
        Assert.True(Removal.Difference(plain, gated) > 1e-4f);
        depth.Fold();
        Assert.InRange(Removal.Difference(gated, model.Graph.Run(images).ToArray()), 0, 1e-6f);
    }

    /// <summary>Branches that are narrower than the stream, with constants for the channels that they lost.</summary>
    private static void LoseFilters(Model model)
    {
        CompressionJobs.Job(model, CompressionMethods.Get("soft-filter") with
        {
            Selection = new() { Ratio = 0.3, MinKept = 1 }, TrainSteps = 1,
        }).Run();
        Assert.Contains(model.Graph.Nodes, n => n.Op is IndexAddOp && n.Operands[1]!.Tensor.Span.ContainsAnyExcept(0f));
    }

    private static Graph Toy(bool relu)
    {
        Tensor weight = Tensor.From(new Shape(2, 2), [2, 0, 0, 0.5f]);
        return Graph.Trace(x =>
        {
            Tensor y = F.Add(F.Linear(x, weight, null), x);
            return relu ? F.Relu(y) : y;
        }, new Shape(2, 2), [("block.weight", weight)]);
    }

    private static void Backward(Model model, RandomDepth depth)
    {
        using var scope = new Scope();
        Tensor images = CompressionJobs.Job(model, new CompressionOptions()).Example(8);
        using var recording = new Recording();
        Tensor logits = depth.Drawn(model.Graph).Prepared(training: true).Run(images, new RunContext(Training: true));
        recording.Backward(F.CrossEntropy(logits, [0, 1, 2, 3, 4, 5, 6, 7]));
        depth.AfterBackward(Step);
    }
}

public sealed class SurvivalTests
{
    [Theory]
    [InlineData("Linear", new[] { 0.8333333, 0.6666667, 0.5 })]
    [InlineData("Linear", new[] { 0.875, 0.75, 0.625, 0.5 })]
    [InlineData("Ramp", new[] { 1, 0.8333333, 0.6666667, 0.5 })]
    [InlineData("Uniform", new[] { 0.5, 0.5 })]
    [InlineData("Ramp", new[] { 1.0 })]
    public void ProbabilitiesByPlace(string rule, double[] expected)
    {
        double[] actual = SurvivalRules.Of(Enum.Parse<SurvivalRule>(rule), expected.Length, 0.5);
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-7);
    }

    [Fact]
    public void The54BlocksOfThePaper()
    {
        double[] p = SurvivalRules.Of(SurvivalRule.Linear, 54, 0.5);
        Assert.Equal(0.9907407, p[0], 1e-7);
        Assert.Equal(0.5, p[^1]);
        Assert.Equal(40.25, p.Sum(), 1e-12);
        Assert.Equal((3 * 54 - 1) / 4.0, p.Sum(), 1e-12);
        Assert.Equal(0.254630, 1 - p.Sum() / 54, 1e-6);
        Assert.Equal(9.1242284, p.Sum(x => x * (1 - x)), 1e-7);
        Assert.Equal(3.0206, Math.Sqrt(p.Sum(x => x * (1 - x))), 1e-4);
        Assert.Equal(4.4964e-8, p.Aggregate(1.0, (product, x) => product * x), 1e-12);
    }
}
