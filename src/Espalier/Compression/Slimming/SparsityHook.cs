using System.Globalization;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression;

/// <summary>
/// Adds the sub-gradient of lambda · Σ|gamma| to the gradients of the scales: lambda · sign(gamma), nothing at 0. Each
/// micro-batch adds its share, so that a step sees lambda once.
/// </summary>
internal sealed class SparsityHook(IReadOnlyList<Tensor> gammas, float lambda) : ITrainingHook
{
    /// <summary>For all batch norms of a network.</summary>
    public static SparsityHook Of(Module net, float lambda) => new([.. net.Descendants<BatchNorm2d>().Select(n => n.Weight)], lambda);

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
        [("SlimmingLambda", lambda.ToString(CultureInfo.InvariantCulture))];

    /// <inheritdoc/>
    public void AfterBackward(in StepContext context)
    {
        float step = lambda * context.GradientScale;
        foreach (Tensor gamma in gammas)
        {
            if (gamma.Grad is not { } grad) continue;
            Span<float> to = grad.Span, values = gamma.Span;
            for (int i = 0; i < to.Length; i++) to[i] += step * MathF.Sign(values[i]);
        }
    }
}
