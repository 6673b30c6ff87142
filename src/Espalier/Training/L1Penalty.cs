using System.Globalization;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>
/// Adds the sub-gradient of lambda · Σ|w| to the gradients of some parameters, such as gates or the scales of norms: lambda · sign(w),
/// nothing at 0. Each micro-batch adds its share, so that a step sees lambda once.
/// </summary>
/// <param name="name">What lambda is called among the options of the run.</param>
public sealed class L1Penalty(IReadOnlyList<Tensor> parameters, float lambda, string name) : ITrainingHook
{
    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity => [(name, lambda.ToString(CultureInfo.InvariantCulture))];

    /// <inheritdoc/>
    public void AfterBackward(in StepContext context)
    {
        float step = lambda * context.GradientScale;
        foreach (Tensor parameter in parameters)
        {
            if (parameter.Grad is not { } grad) continue;
            Span<float> to = grad.Span, values = parameter.Span;
            for (int i = 0; i < to.Length; i++) to[i] += step * MathF.Sign(values[i]);
        }
    }
}
