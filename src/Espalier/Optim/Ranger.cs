using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Optim;

/// <summary>
/// Ranger: <see cref="RAdam"/> on centralised gradients, inside <see cref="Lookahead"/> with k = 6 and α = 0.5.
/// </summary>
public static class Ranger
{
    /// <summary>Made of its parts, with their usual values.</summary>
    public static Optimizer Create(IReadOnlyList<ParameterGroup> groups, float weightDecay = 0) =>
        new Lookahead(new CentralisedRAdam(groups, weightDecay), every: 6, rate: 0.5f);

    /// <summary>RAdam with b1 = 0.95 and eps = 1e-5, on gradients without their mean.</summary>
    private sealed class CentralisedRAdam(IReadOnlyList<ParameterGroup> groups, float weightDecay)
        : RAdam(groups, beta1: 0.95, epsilon: 1e-5, weightDecay: weightDecay)
    {
        /// <inheritdoc/>
        protected internal override void Update(Tensor parameter, Tensor gradient, Tensor[] state, long updates, float lr,
            float weightDecay)
        {
            GradientCentralisation.Run(gradient);
            base.Update(parameter, gradient, state, updates, lr, weightDecay);
        }
    }
}

/// <summary>
/// Gradient centralisation (Yong et al., arXiv 2004.01461): the gradient of each output (row of a matrix, filter of a
/// convolution) loses its mean. Vectors and single values stay as they are.
/// </summary>
public static class GradientCentralisation
{
    /// <param name="gradient">[outputs, ...]; changed in place.</param>
    public static unsafe void Run(Tensor gradient)
    {
        if (gradient.Rank < 2 || gradient.Length == 0) return;
        long width = gradient.Length / gradient.Shape[0];
        for (int row = 0; row < gradient.Shape[0]; row++)
        {
            var values = new Span<float>(gradient.Data + row * width, checked((int)width));
            TensorPrimitives.Subtract(values, TensorPrimitives.Sum<float>(values) / width, values);
        }
    }
}
