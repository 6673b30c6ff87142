using System.Globalization;
using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>How an L1 penalty makes parameters smaller.</summary>
public enum L1Step
{
    /// <summary>Its sub-gradient is added to the gradient, so that it goes through the optimiser's moments: parameters become
    /// small, rarely zero.</summary>
    Gradient,

    /// <summary>The proximal step: after the optimiser's step parameters move towards zero by lambda times the learning rate, and
    /// those that would pass it are zero.</summary>
    Proximal,
}

/// <summary>
/// The penalty lambda · Σ|w| of some parameters, such as gates or the scales of norms. As gradient lambda · sign(w), 0 at 0;
/// each micro-batch adds its share, so that a step sees lambda once.
/// </summary>
/// <param name="name">What lambda is called among the options of the run.</param>
/// <param name="decay">Whether the run's weight decay draws at the parameters, too.</param>
public sealed class L1Penalty(IReadOnlyList<Tensor> parameters, float lambda, string name, L1Step how = L1Step.Gradient,
    bool decay = true) : ITrainingHook
{
    private Optimizer? optimizer;

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
        [(name, lambda.ToString(CultureInfo.InvariantCulture) + (how == L1Step.Proximal ? " proximal" : ""))];

    /// <inheritdoc/>
    public IReadOnlyList<Tensor> WithoutDecay => decay ? [] : parameters;

    /// <inheritdoc/>
    public void BeforeForward(in StepContext context) => optimizer = context.Optimizer;

    /// <inheritdoc/>
    public void AfterBackward(in StepContext context)
    {
        if (how != L1Step.Gradient) return;
        float step = lambda * context.GradientScale;
        foreach (Tensor parameter in parameters)
        {
            if (parameter.Grad is not { } grad) continue;
            Span<float> to = grad.Span, values = parameter.Span;
            for (int i = 0; i < to.Length; i++) to[i] += step * MathF.Sign(values[i]);
        }
    }

    /// <inheritdoc/>
    public void AfterStep(long step)
    {
        if (how != L1Step.Proximal) return;
        float less = lambda * (optimizer?.LearningRate ?? 0);
        foreach (Tensor parameter in parameters)
        {
            // One that is held still stays as it is.
            if (!parameter.RequiresGrad) continue;
            foreach (ref float w in parameter.Span) w = MathF.CopySign(MathF.Max(0, MathF.Abs(w) - less), w);
        }
    }
}
