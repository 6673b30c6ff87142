using Espalier.Compression.Apt;
using Espalier.Data;
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

    /// <summary>A forward pass of the module, without gradients.</summary>
    /// <param name="apt">The agents, or null to keep every token.</param>
    /// <param name="images">[B, C, S, S].</param>
    public static BenchWork Inference(VisionTransformer vit, AptModel? apt, Tensor images)
    {
        var (macs, tokens) = Count(vit, apt, images);
        return new BenchWork(() =>
        {
            vit.Training = false;
            using var scope = new Scope();
            if (apt is null) vit.Forward(images);
            else apt.Forward(images);
        }, macs, tokens);
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
        var (macs, tokens) = Count(vit, apt, images);
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

    private static (double Macs, double[] Tokens) Count(VisionTransformer vit, AptModel? apt, Tensor images)
    {
        if (apt is null) return (VitCost.Dense(vit.Config), [vit.Config.Tokens]);
        vit.Training = false;
        int batch = images.Shape[0];
        using var scope = new Scope();
        AptOutput output = apt.Forward(images);
        double macs = 0;
        double[] tokens = new double[1 + apt.Layers.Count];
        for (int b = 0; b < batch; b++)
        {
            int[] left = output.TokensOf(b);
            for (int i = 0; i < left.Length; i++) tokens[i] += (double)left[i] / batch;
            macs += (double)apt.MultiplyAdds(left) / batch;
        }
        return (macs, tokens);
    }
}
