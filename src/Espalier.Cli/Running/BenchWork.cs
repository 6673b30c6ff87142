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

    /// <summary>A forward pass of a session.</summary>
    /// <param name="images">[B, C, S, S].</param>
    public static BenchWork Inference(VitSession session, Pruning pruning, Tensor images)
    {
        var (macs, tokens) = Count(session, pruning, images);
        var logits = new float[images.Shape[0] * session.Config.NumClasses];
        return new BenchWork(() => session.Run(images.Span, images.Shape[0], logits, pruning), macs, tokens);
    }

    /// <summary>
    /// A training step: cross-entropy, backward pass, SGD with momentum; with agents, all passes of APT's published procedure.
    /// The learning rate is 0: every multiplication is done and the weights stay as they are.
    /// </summary>
    public static BenchWork Training(VisionTransformer vit, AptModel? apt, Tensor images)
    {
        VitConfig config = vit.Config;
        var structure = new ModelStructure { Config = config };
        ITrainingTask task = apt is null ? new ClassificationTask(vit, structure) : new AptTask(apt, structure, new AptOptions());
        var batch = new Batch(images.Shape[0], (int)(images.Length / images.Shape[0]), pool: null);
        images.Span.CopyTo(batch.Pixels);
        for (int i = 0; i < batch.Count; i++) batch.Labels[i] = i % config.NumClasses;
        Tensor[] parameters = [.. task.Model.Parameters()];
        Optimizer optimizer = Optimizers.Create("sgd", task.ParameterGroups);
        using var session = apt is null ? new VitSession(vit) : new VitSession(apt);
        var (macs, tokens) = Count(session, session.Pruning, images);
        return new BenchWork(() =>
        {
            task.Model.Training = true;
            using (new Scope())
            {
                task.Step(batch, new StepContext(1, 1, 0, 0, 1, new Rng(0)));
                optimizer.Step(lr: 0);
            }
            foreach (Tensor p in parameters) p.ClearGrad();
        }, apt is null ? TrainingPasses * macs : null, tokens, optimizer);
    }

    private static (double Macs, double[] Tokens) Count(VitSession session, Pruning pruning, Tensor images)
    {
        int batch = images.Shape[0];
        var trace = new TokenTrace();
        session.Run(images.Span, batch, new float[batch * session.Config.NumClasses], pruning, trace);
        double macs = 0;
        double[] tokens = new double[trace.Stages];
        for (int b = 0; b < batch; b++)
        {
            ReadOnlySpan<int> left = trace.Counts(b);
            for (int i = 0; i < left.Length; i++) tokens[i] += (double)left[i] / batch;
            macs += (double)session.MultiplyAdds(left) / batch;
        }
        return (macs, tokens);
    }
}
