using Espalier.Compression.Apt;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Models;
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
        var logits = new float[batch * session.NumClasses];
        var trace = new TokenTrace();
        session.Run(images.Span, batch, logits, pruning, trace);
        var (macs, tokens) = Mean(batch, b => trace.Counts(b).ToArray(), counts => session.MultiplyAdds(counts));
        return new BenchWork(() => session.Run(images.Span, batch, logits, pruning), macs, tokens);
    }

    /// <summary>A forward pass of the module with every token, as a training step has it, but without gradients.</summary>
    public static BenchWork Forward(ImageClassifier net, Tensor images) => new(() =>
    {
        net.Training = false;
        using var scope = new Scope();
        net.Forward(images);
    }, net.CountMultiplyAdds(), AllTokens(net));

    /// <summary>
    /// A training step: cross-entropy, backward pass, SGD with momentum; with agents, all passes of APT's published procedure.
    /// The learning rate is 0: every multiplication is done and the weights stay as they are.
    /// </summary>
    public static BenchWork Training(ImageClassifier net, AptModel? apt, Tensor images)
    {
        ITrainingTask task = apt is null ? new ClassifierTask(net, new ClassifierTaskOptions())
            : new AptTask(apt, new ModelStructure { Config = apt.Vit.Config }, new AptOptions());
        var batch = new Batch(images.Shape[0], (int)(images.Length / images.Shape[0]), pool: null);
        images.Span.CopyTo(batch.Pixels);
        for (int i = 0; i < batch.Count; i++) batch.Labels[i] = i % net.NumClasses;
        Tensor[] parameters = [.. task.Graph.Parameters.Select(p => p.Value)];
        Optimizer optimizer = Optimizers.Create("sgd", task.ParameterGroups);
        double? macs = apt is null ? TrainingPasses * net.CountMultiplyAdds() : null;
        double[] tokens = apt is null ? AllTokens(net) : CountTokens(apt, images);
        return new BenchWork(() =>
        {
            using (new Scope())
            {
                task.Step(batch, new StepContext(1, 1, 0, 0, 1, new Rng(0)));
                optimizer.Step(lr: 0);
            }
            foreach (Tensor p in parameters) p.ClearGrad();
        }, macs, tokens, optimizer);
    }

    private static double[] AllTokens(ImageClassifier net) => net is VisionTransformer vit ? [vit.Config.Tokens] : [];

    private static double[] CountTokens(AptModel apt, Tensor images)
    {
        apt.Training = false;
        using var scope = new Scope();
        return Mean(images.Shape[0], apt.Forward(images).TokensOf, _ => 0).Tokens;
    }

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
