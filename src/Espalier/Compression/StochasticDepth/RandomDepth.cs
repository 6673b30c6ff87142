using System.Globalization;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression;

/// <param name="Last">Survival probability of the last block.</param>
/// <param name="PerSample">A draw for each image; else one for a step.</param>
/// <param name="Inverted">Branches are divided by their probability in training, in place of multiplied in inference.</param>
/// <param name="FreezeSkipped">
/// Whether weights of a branch that did not run have no gradient, so that no optimiser touches them; else their gradient is 0,
/// and momentum and weight decay go on.
/// </param>
internal sealed record RandomDepthOptions(SurvivalRule Rule = SurvivalRule.Linear, double Last = 0.8, bool PerSample = false,
    bool Inverted = false, bool FreezeSkipped = false);

/// <summary>
/// Puts gates on all residual blocks of a network until it is disposed, and draws for each step anew; micro-batches of a step
/// share what was drawn.
/// </summary>
internal sealed class RandomDepth : ITrainingHook, IDisposable
{
    // Keeps the draws apart from those of mixing and dropout, which begin with the same numbers.
    private const ulong Stream = 0x64_65_70_74_68;

    private readonly RandomDepthOptions options;
    private readonly BlockGates put = new();

    /// <exception cref="EspalierException">There are no residual blocks.</exception>
    public RandomDepth(Module net, RandomDepthOptions options)
    {
        this.options = options;
        ResidualBlock[] blocks = [.. net.Descendants<ResidualBlock>().Where(b => b is { HasShortcut: true, IsRemoved: false })];
        if (blocks.Length == 0) throw new EspalierException("the model has no residual blocks, so there is no depth to vary");
        double[] survival = Survival.Of(options.Rule, blocks.Length, options.Last);
        Gates = [.. blocks.Select((b, i) => (b, new DepthGate(survival[i], options.PerSample, options.Inverted)))];
        foreach (var (block, gate) in Gates) put.Put(block, gate);
    }

    /// <summary>In the order of the forward pass.</summary>
    public IReadOnlyList<(ResidualBlock Block, DepthGate Gate)> Gates { get; }

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("SurvivalRule", options.Rule.ToString()),
        ("Survival", options.Last.ToString(CultureInfo.InvariantCulture)),
        ("DepthGranularity", options.PerSample ? "sample" : "batch"),
        ("DepthScaling", options.Inverted ? "inverted" : "inference"),
        ("FreezeSkipped", options.FreezeSkipped ? "yes" : "no"),
    ];

    /// <inheritdoc/>
    public void BeforeForward(in StepContext context)
    {
        if (context.MicroBatch > 0 && !options.PerSample) return;
        Rng rng = context.Rng, own = new(rng.NextULong(), Stream);
        foreach (var (_, gate) in Gates) gate.Draw(() => own.NextDouble());
    }

    /// <inheritdoc/>
    public void AfterBackward(in StepContext context)
    {
        if (options.FreezeSkipped) return;
        foreach (var (block, gate) in Gates)
        {
            if (gate.IsOpen) continue;
            // The shortcut ran; what has no gradient is of the branch.
            foreach (Tensor parameter in block.Parameters())
            {
                if (parameter is not { RequiresGrad: true, Grad: null }) continue;
                parameter.Grad = Tensor.Unscoped(parameter.Shape);
                parameter.Grad.Fill(0);
            }
        }
    }

    public void Dispose() => put.Dispose();
}
