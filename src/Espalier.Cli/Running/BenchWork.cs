using Espalier.Compression;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>The work of one configuration, ready to be called again and again with the same images.</summary>
/// <param name="Run">One call.</param>
/// <param name="MultiplyAdds">Mean an image; null where nobody has counted them.</param>
/// <param name="Tokens">Mean tokens that enter block 0, then those left after each agent.</param>
internal sealed record BenchWork(Action Run, double? MultiplyAdds, double[] Tokens, IDisposable? Owned = null) : IDisposable
{
    /// <summary>A backward pass has two products for each one of the forward pass.</summary>
    private const int TrainingPasses = 3;

    public void Dispose() => Owned?.Dispose();

    /// <summary>A pass through an inference session.</summary>
    /// <param name="images">[B, C, S, S].</param>
    public static BenchWork Inference(Session session, Pruning pruning, Tensor images)
    {
        int batch = images.Shape[0];
        var logits = new float[batch * session.ResultValues];
        var trace = new TokenTrace();
        session.Run(images.Span, batch, logits, pruning, trace);
        var (macs, tokens) = Mean(batch, b => trace.Counts(b).ToArray(), counts => session.MultiplyAdds(counts));
        return new BenchWork(() => session.Run(images.Span, batch, logits, pruning), macs, tokens);
    }

    /// <summary>A forward pass with every token, as a training step has it, but without gradients.</summary>
    public static BenchWork Forward(Model model, Tensor images)
    {
        Graph graph = Whole(model);
        return new BenchWork(() =>
        {
            using var scope = new Scope();
            graph.Prepared(training: true).Run(images);
        }, graph.CostPerImage.MultiplyAdds, AllTokens(graph));
    }

    /// <summary>
    /// A training step: cross-entropy, backward pass, SGD with momentum; with agents, all passes of APT's published procedure.
    /// The learning rate is 0: every multiplication is done and the weights stay as they are.
    /// </summary>
    public static BenchWork Training(Model model, bool prunes, bool checkpoints, Tensor images)
    {
        int[] labels = [.. Enumerable.Range(0, images.Shape[0]).Select(i => i % model.NumClasses)];
        var run = new RunContext(Training: true) { CheckpointActivations = checkpoints };
        return prunes ? Pruned(model, labels, images, run) : Plain(Whole(model), labels, images, run);
    }

    private static BenchWork Plain(Graph graph, int[] labels, Tensor images, RunContext run)
    {
        Optimizer optimizer = Optimizers.Create("sgd", ParameterGroup.Of(graph));
        return new BenchWork(() => Step(optimizer, () =>
        {
            using var recording = new Recording();
            recording.Backward(F.CrossEntropy(graph.Prepared(training: true).Run(images, run), labels));
        }), TrainingPasses * graph.CostPerImage.MultiplyAdds, AllTokens(graph), optimizer);
    }

    private static BenchWork Pruned(Model model, int[] labels, Tensor images, RunContext run)
    {
        var method = (ITrainingMethod)CompressionMethods.Get("apt");
        ITrainingTask task = method.NewTask(model, dropout: 0, labelSmoothing: 0, seed: 0);
        var batch = new Batch(labels.Length, (int)(images.Length / labels.Length), pool: null);
        images.Span.CopyTo(batch.Pixels);
        labels.CopyTo(batch.Labels, 0);
        Optimizer optimizer = Optimizers.Create("sgd", task.ParameterGroups);
        using Session session = Session.Of(model);
        double[] tokens = Inference(session, session.Pruning, images).Tokens;
        var context = new StepContext(1, 1, 0, 0, 1, new Rng(0)) { Run = run };
        return new BenchWork(() => Step(optimizer, () => task.Step(batch, context)), null, tokens, optimizer);
    }

    private static void Step(Optimizer optimizer, Action gradients)
    {
        using (new Scope())
        {
            gradients();
            optimizer.Step(lr: 0);
        }
        foreach (var (_, parameter) in optimizer.Parameters) parameter.ClearGrad();
    }

    /// <summary>The network without agents; it shares the weights.</summary>
    private static Graph Whole(Model model)
    {
        Graph graph = model.Graph.Between(model.Graph.Inputs, model.Graph.Outputs);
        TokenAgents.Remove(graph);
        return graph;
    }

    private static double[] AllTokens(Graph graph) =>
        graph.Nodes.FirstOrDefault(n => n.Op is AttentionOp)?.Operands[0]!.Tensor.Rows is { } rows ? [rows.MaxLength] : [];

    /// <summary>Means over the images of a batch.</summary>
    private static (double Macs, double[] Tokens) Mean(int batch, Func<int, int[]> tokensOf, Func<int[], long> multiplyAdds)
    {
        double macs = 0;
        double[] tokens = new double[tokensOf(0).Length];
        for (int b = 0; b < batch; b++)
        {
            int[] left = tokensOf(b);
            for (int i = 0; i < left.Length; i++) tokens[i] += (double)left[i] / batch;
            macs += (double)multiplyAdds(left) / batch;
        }
        return (macs, tokens);
    }
}
