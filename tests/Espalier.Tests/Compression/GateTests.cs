using Espalier.Compression;
using Espalier.Data;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression;

/// <summary>Learned factors in a graph, and what methods build of them.</summary>
public sealed class GateTests : IDisposable
{
    private const string Block = "transformer.encoder.layer.0.";

    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    /// <summary>Where a layer makes the value, its weights take the factors; else those that read it.</summary>
    [Theory]
    [InlineData(CompressionJobs.TinyVit, 8, Block + "ffn.fc1")]
    [InlineData(CompressionJobs.TinyVit, 8, Block + "ffn.gelu")]
    [InlineData(CompressionJobs.TinyVit, 8, Block + "attention_norm")]
    [InlineData(CompressionJobs.TinyVit, 8, Block + "attn.value")]
    [InlineData("resnet20", 16, "layer1.0.conv1")]
    [InlineData("resnet20", 16, "layer2.0.bn2")]
    [InlineData("resnet20", 16, "layer1.1.relu")]
    public void Folding_gives_what_gates_gave(string network, int size, string name)
    {
        using Model model = CompressionJobs.Model(network, size);
        using var scope = new Scope();
        Tensor images = CompressionJobs.Job(model, new CompressionOptions()).Example(3);
        string[] weights = [.. model.Graph.Weights.Keys];
        float[] plain = model.Graph.Run(images).ToArray();
        Gate gate = Gate.Insert(model.Graph, Value(model, name));
        Assert.Equal(plain, model.Graph.Run(images).ToArray());
        Assert.Equal([name + ".gate"], model.Graph.Weights.Keys.Except(weights));
        for (int i = 0; i < gate.Factors.Length; i++) gate.Factors.Span[i] = i % 3 * 0.7f;
        float[] gated = model.Graph.Run(images).ToArray();
        Assert.True(Removal.Difference(plain, gated) > 1e-3f);
        Gate.Fold(model.Graph, [gate]);
        Assert.Equal(weights, model.Graph.Weights.Keys);
        Assert.InRange(Removal.Difference(gated, model.Graph.Run(images).ToArray()), 0, 1e-5f);
    }

    [Fact]
    public void A_head_has_one_factor()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        using var scope = new Scope();
        Tensor images = CompressionJobs.Job(model, new CompressionOptions()).Example(3);
        GraphNode attention = model.Graph.Nodes.First(n => n.Op is AttentionOp);
        Gate gate = Gate.Insert(model.Graph, attention.Output, ((AttentionOp)attention.Op).Heads, function: F.Sigmoid);
        Assert.Equal(new Shape(3, 1), gate.Factors.Shape);
        Tensor.From(new Shape(3, 1), [0, 2, -1]).Span.CopyTo(gate.Factors.Span);
        Assert.Equal([0.5f, 0.5f, 0.5f, 0.5f, 0.880797f, 0.880797f, 0.880797f, 0.880797f, 0.268941f, 0.268941f, 0.268941f, 0.268941f],
            gate.Values().Select(v => MathF.Round(v, 6)));
        float[] gated = model.Graph.Run(images).ToArray();
        // The blocks are still found.
        Assert.Equal(attention, TransformerBlocks.Of(model.Graph).Blocks[0].Attention);
        Gate.Fold(model.Graph, [gate]);
        Assert.InRange(Removal.Difference(gated, model.Graph.Run(images).ToArray()), 0, 1e-5f);
    }

    /// <summary>Behind a sum there is nothing that could take the factors: nothing changes, and it is said.</summary>
    [Fact]
    public void What_cannot_be_folded_stays()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        Gate[] gates = [Gate.Insert(model.Graph, Value(model, Block + "ffn.fc1")),
            Gate.Insert(model.Graph, ResidualBranch.Find(model.Graph)[0].Sum.Output)];
        foreach (Gate gate in gates) gate.Factors.Fill(0.5f);
        using var scope = new Scope();
        Tensor images = CompressionJobs.Job(model, new CompressionOptions()).Example(2);
        float[] before = model.Graph.Run(images).ToArray();
        Assert.Contains("no weights", Assert.Throws<EspalierException>(() => Gate.Fold(model.Graph, gates)).Message);
        Assert.Equal(before, model.Graph.Run(images).ToArray());
        Gate.Remove(model.Graph, gates);
        Assert.DoesNotContain(model.Graph.Weights.Keys, w => w.Contains("gate"));
    }

    /// <summary>0 or 1 in the pass, and the gradient of the factor for what decides.</summary>
    [Fact]
    public void Hard_gates_let_gradients_through()
    {
        using var scope = new Scope();
        Tensor weight = Tensor.From(new Shape(2, 2), [1, 0, 0, 1]);
        Graph graph = Graph.Trace(x => F.Linear(x, weight, null), new Shape(2, 2), [("w", weight)]);
        Gate gate = Gate.Insert(graph, graph.Outputs[0], initial: 0.3f, hard: true);
        Tensor x = Tensor.From(new Shape(1, 2), [2, 5]);
        Assert.Equal([2f, 5], graph.Run(x).ToArray());
        gate.Factors.Span[0] = -0.2f;
        var hook = new StraightThrough([gate], (g, i) => g.Factors.Span[i] > 0);
        hook.AfterStep(1);
        Assert.Equal([0f, 1], gate.Values());
        using var recording = new Recording();
        Tensor y = graph.Run(x);
        Assert.Equal([0f, 5], y.ToArray());
        recording.Backward(F.Sum(y));
        Assert.Equal([2f, 5], gate.Factors.Grad!.ToArray());
        Gate.Fold(graph, [gate]);
        Assert.Equal([0f, 0, 0, 1], weight.ToArray());
    }

    /// <summary>The example of docs/adding-a-method.md: it shrinks any network with hidden units, and resumes bit for bit.</summary>
    [Theory]
    [InlineData(CompressionJobs.TinyVit, 8, 3)]
    [InlineData("cifar-vgg11", 16, 5)]
    public void A_method_of_gates_stops_and_goes_on(string network, int size, int stopAfter)
    {
        float[][] ends = [Run("whole", null, resume: false), .. Stopped()];
        Assert.Equal(ends[0], ends[1]);

        IEnumerable<float[]> Stopped()
        {
            Assert.Throws<OperationCanceledException>(() => Run("parts", stopAfter, resume: false));
            yield return Run("parts", null, resume: true);
        }

        float[] Run(string name, int? stop, bool resume)
        {
            using var cancel = new CancellationTokenSource();
            using Model model = CompressionJobs.Model(network, size);
            var method = new GatedUnits
            {
                Ratio = 0.3, TrainSteps = 4, FineTuneSteps = 3, Lambda = 1e-3f,
                Training = new() { BatchSize = 16, DataThreads = 0, OutputDir = Path.Combine(folder, name), Resume = resume, LearningRate = 0.01f },
            };
            var job = new CompressionJob(model, CompressionJobs.Data(size), method, new StopAt(stop, cancel), cancel.Token);
            long before = model.ParameterCount;
            job.Run();
            Assert.True(model.ParameterCount < before);
            Assert.InRange(Assert.Single(job.Removals).Difference, 0, 1e-4f);
            Assert.DoesNotContain(model.Graph.Weights.Keys, w => w.Contains("gate"));
            return [.. model.Graph.ReadWeights().SelectMany(w => w.Tensor.ToArray())];
        }
    }

    private static GraphValue Value(Model model, string name) => name.EndsWith("gelu", StringComparison.Ordinal)
        ? model.Graph.Nodes.First(n => n.Op is GeluOp).Output is var y && y.Name == name ? y : throw new InvalidOperationException(y.Name)
        : model.Graph[name];

    /// <summary>Learned factors on the outputs of all layers that may lose channels, driven towards zero; the smallest go.</summary>
    private sealed record GatedUnits : CompressionMethod
    {
        public override bool TrainsFirst => true;

        public override string Name => "gated-units";

        public override string Purpose => "an example";

        public float Lambda { get; init; }

        public override void Run(CompressionJob job)
        {
            Graph network = job.Model.Graph;
            SelectionOptions selection = Selection.Checked();
            Gate[] gates;
            using (DependencyGraph whole = job.Graph())
            {
                HashSet<Tensor> makers = [.. selection.Candidates(whole).SelectMany(g => g.Of(ChannelRole.Producer)).Select(s => s.Tensor)];
                gates = [.. network.Nodes.Where(n => n.Op is LinearOp or Conv2dOp && makers.Contains(n.Operands[1]!.Tensor)).ToArray()
                    .Select(n => Gate.Insert(network, n.Output))];
            }
            job.Train("gates", TrainSteps, new L1Penalty([.. gates.Select(g => g.Factors)], Lambda, "GateLambda"));
            var scores = new ChannelScores();
            using DependencyGraph graph = job.Graph();
            foreach (ChannelGroup group in selection.Candidates(graph))
            {
                GroupSlice[] factors = [.. group.Slices.Where(s => gates.Any(g => g.Factors == s.Tensor))];
                scores.Set(group, [.. Enumerable.Range(0, group.Count).Select(k =>
                    factors.Sum(s => s.Entries[k].Sum(e => (double)Math.Abs(s.Tensor.Span[e]))))]);
            }
            job.Remove(graph, job.Select(graph, scores, selection));
            Gate.Fold(network, gates);
            job.Train("fine-tune", FineTuneSteps);
        }
    }

    private sealed class StopAt(int? steps, CancellationTokenSource cancel) : ITrainingProgress
    {
        private int done;

        public void Step(StepInfo info)
        {
            if (++done == steps) cancel.Cancel();
        }

        public void Evaluating(long step, int batch, int batches) { }

        public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest) { }

        public void Message(string text) { }
    }
}

/// <summary>Hooks that look at values of the pass.</summary>
public sealed class TrainingHookTests
{
    /// <summary>A term that looks at a value inside and at the same value of the network before.</summary>
    [Fact]
    public void A_loss_sees_values_and_those_of_a_frozen_network()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        using Model before = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        foreach (ref float x in model.Graph["transformer.encoder.layer.0.attn.value.weight"].Tensor.Span) x *= 2;
        GraphValue here = model.Graph["transformer.encoder.layer.0.ffn.fc2"], there = before.Graph[here.Name];
        var hook = new Same(here, new FrozenPass(before.Graph, [there]));
        var task = new ClassifierTask(model, new ClassifierTaskOptions { Hooks = [hook] });
        using var loader = new DataLoader(CompressionJobs.Data(8).Train, ImagePipeline.Eval(8, 1), 8, threads: 0);
        using var scope = new Scope();
        Batch batch = loader.Next();
        double loss = task.Step(batch, new StepContext(1, 1, 0, 0, 1, new Rng(1)))["loss"];
        float[] gradient = model.Graph["transformer.encoder.layer.0.attn.value.weight"].Tensor.Grad!.ToArray();
        foreach (var (_, parameter) in model.Graph.Parameters) parameter.ClearGrad();

        using var recording = new Recording();
        Tensor images = batch.ToTensor(1, 8);
        Graph wide = model.Graph.Between(model.Graph.Inputs, [model.Graph.Outputs[0], here]);
        Tensor[] pass = wide.Run([images]);
        Tensor constant;
        using (Recording.Pause()) constant = before.Graph.Between(before.Graph.Inputs, [there]).Run([images])[0];
        Tensor expected = F.Add(F.CrossEntropy(pass[0], batch.Labels), F.Mul(F.Mean(F.Square(F.Sub(pass[1], constant))), 3));
        Assert.Equal(expected.Item(), loss, 1e-5);
        recording.Backward(expected);
        Assert.InRange(Removal.Difference(gradient, model.Graph["transformer.encoder.layer.0.attn.value.weight"].Tensor.Grad!.ToArray()),
            0, 1e-5f);
        Assert.True(hook.Seen);
        Assert.Throws<ArgumentException>(() => new TrainingPass(batch, images, pass[0], null)[here]);
    }

    /// <summary>Outputs beside the logits are trained by hooks and go again.</summary>
    [Fact]
    public void A_classifier_after_a_block_comes_and_goes()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        string[] weights = [.. model.Graph.Weights.Keys];
        GraphValue block = ResidualBranch.Find(model.Graph)[1].Sum.Output;
        Tensor weight = Tensor.Unscoped(new Shape(10, 12));
        weight.Fill(0.1f);
        weight.RequiresGrad = true;
        GraphValue early = model.Graph.Add([block], x => F.Linear(F.TakeRows(x[0], 0), weight, null), [("early.weight", weight)]);
        model.Graph.AddOutput(early);
        Assert.Equal(2, model.Graph.Outputs.Count);
        var task = new ClassifierTask(model, new ClassifierTaskOptions { Hooks = [new Early(early)] });
        using var loader = new DataLoader(CompressionJobs.Data(8).Train, ImagePipeline.Eval(8, 1), 8, threads: 0);
        using (new Scope()) task.Step(loader.Next(), new StepContext(1, 1, 0, 0, 1, new Rng(1)));
        Assert.Contains(weight.Grad!.ToArray(), g => g != 0);
        Assert.Throws<ArgumentException>(() => model.Graph.RemoveOutput(model.Graph.Outputs[0]));
        model.Graph.RemoveOutput(early);
        model.Graph.DropUnreadWeights();
        Assert.Equal(weights, model.Graph.Weights.Keys);
    }

    private sealed class Same(GraphValue value, FrozenPass frozen) : ITrainingHook
    {
        public bool Seen { get; private set; }

        public IReadOnlyList<GraphValue> Watched => [value];

        public Tensor Loss(TrainingPass pass, in StepContext context)
        {
            Seen = true;
            return F.Mul(F.Mean(F.Square(F.Sub(pass[value], frozen.Run(pass.Images)[0]))), 3);
        }
    }

    private sealed class Early(GraphValue logits) : ITrainingHook
    {
        public IReadOnlyList<GraphValue> Watched => [logits];

        public Tensor Loss(TrainingPass pass, in StepContext context) => F.CrossEntropy(pass[logits], pass.Batch.Labels);
    }
}
