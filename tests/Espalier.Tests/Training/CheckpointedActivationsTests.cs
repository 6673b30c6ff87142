using Espalier.Tensors;
using Espalier.Tensors.Memory;
using Espalier.Tests.Distributed;
using Espalier.Training;

namespace Espalier.Tests.Training;

/// <summary>Activations that are computed again in the backward pass change the memory and nothing else.</summary>
[Collection("alone")]
public sealed class CheckpointedActivationsTests
{
    /// <summary>A transformer with dropout, batch norms, and concatenations that leave fewer places to cut at.</summary>
    [Theory]
    [InlineData("vit-tiny-28", 1.0, 0.1f)]
    [InlineData("resnet20", 0.5, 0)]
    [InlineData("densenet40", 0.5, 0)]
    public void LossGradientsAndStatisticsAreTheSame(string network, double width, float dropout)
    {
        using Model plain = New(network, width, dropout), checkpointed = New(network, width, dropout);
        Assert.InRange(plain.Graph.Prepared(training: true).ActivationMemory.Sections, 3, 100);
        float[] expected = Step(plain, new RunContext(Training: true)), got = Step(checkpointed, Checkpointed);
        Assert.Equal(expected, got);
        foreach (var (name, weight) in plain.Graph.Weights)
        {
            Tensor other = checkpointed.Graph.Weights[name].Tensor;
            Assert.Equal(weight.Tensor.ToArray(), other.ToArray());
            Assert.Equal(weight.Tensor.Grad?.ToArray(), other.Grad?.ToArray());
        }
    }

    /// <summary>Values in the middle of the network that a loss looks at, too, end their section.</summary>
    [Fact]
    public void OutputsInBetweenHaveTheirGradients()
    {
        using Model plain = New("vit-tiny-28", 1, 0.1f), checkpointed = New("vit-tiny-28", 1, 0.1f);
        string middle = plain.Graph.Nodes.Where(n => n.Op is LayerNormOp).ElementAt(3).Name;
        Assert.Equal(Step(plain, new RunContext(Training: true), middle), Step(checkpointed, Checkpointed, middle));
        foreach (var (name, weight) in plain.Graph.Parameters)
            Assert.Equal(weight.Grad!.ToArray(), checkpointed.Graph.Weights[name].Tensor.Grad!.ToArray());
    }

    [Theory]
    [InlineData("vit-tiny-28", 1, 0.5)]
    [InlineData("resnet20", 1, 0.6)]
    public void LessMemoryIsInUse(string network, double width, double share)
    {
        using Model model = New(network, width, 0);
        ActivationMemory about = model.Graph.Prepared(training: true).ActivationMemory;
        Assert.InRange((double)about.Checkpointed / about.Whole, 0.01, share);
        Assert.InRange(about.Recomputed, 0.5, 0.999);
        long whole = Peak(new RunContext(Training: true)), kept = Peak(Checkpointed);
        Assert.InRange(kept, 1, (long)(share * whole));

        long Peak(RunContext run)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            TensorPool.ResetPeak();
            long before = TensorPool.BytesInUse;
            Step(model, run);
            return TensorPool.PeakBytesInUse - before;
        }
    }

    /// <summary>A whole run by the trainer, several steps on.</summary>
    [Theory]
    [InlineData("vit-tiny-28")]
    [InlineData("resnet20")]
    public void ATrainingEndsWithTheSameWeights(string network) =>
        AssertSameRun(() => RanksTests.New(network), model => new ClassifierTask(model, new ClassifierTaskOptions()));

    /// <summary>Trains with and without, and compares all weights bit for bit.</summary>
    internal static void AssertSameRun(Func<Model> create, Func<Model, ITrainingTask> task)
    {
        float[][] runs = [.. new[] { false, true }.Select(checkpoints =>
        {
            using Model model = create();
            RanksTests.Train(model, task(model), RanksTests.Options with { CheckpointActivations = checkpoints });
            return model.Graph.Weights.Values.SelectMany(w => w.Tensor.ToArray()).ToArray();
        })];
        Assert.Equal(runs[0], runs[1]);
    }

    private static RunContext Checkpointed => new(Training: true) { CheckpointActivations = true };

    private static Model New(string network, double width, float dropout)
    {
        Model model = Model.Create(network, 3, 1, imageSize: 28, seed: 3, width);
        model.Graph.SetDropout(dropout);
        return model;
    }

    /// <summary>The loss after two micro-batches, so that gradients are added to some.</summary>
    private static float[] Step(Model model, RunContext run, string? watched = null)
    {
        using var scope = new Scope();
        var rng = new Rng(7);
        model.Graph.Seed(ref rng);
        Graph network = watched is null ? model.Graph
            : model.Graph.Between(model.Graph.Inputs, [model.Graph.Outputs[0], model.Graph[watched]]);
        Graph pass = network.Prepared(training: true);
        return [.. Enumerable.Range(0, 2).Select(part =>
        {
            using var inner = new Scope();
            var images = new Tensor(new Shape(6, 1, 28, 28));
            for (int i = 0; i < images.Length; i++) images.Span[i] = rng.NextNormal();
            using var recording = new Recording();
            Tensor[] y = pass.Run([images], run);
            Tensor loss = F.CrossEntropy(y[0], [0, 1, 2, 0, 1, 2]);
            if (watched is not null) loss = F.Add(loss, F.Mean(F.Square(y[1])));
            recording.Backward(loss);
            return loss.Item();
        })];
    }
}
