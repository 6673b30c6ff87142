using System.Numerics;
using Espalier.Tensors;

namespace Espalier.Optim;

/// <summary>
/// Adam (Kingma and Ba, arXiv 1412.6980) as in <c>torch.optim.Adam</c>: weight decay is added to the gradient;
/// m = b1·m + (1-b1)·g; v = b2·v + (1-b2)·g²; w -= lr/(1-b1^t) · m / (sqrt(v)/sqrt(1-b2^t) + eps).
/// </summary>
public class Adam : Optimizer
{
    private readonly double beta1, beta2;
    private readonly float epsilon;
    private readonly bool decoupled;

    public Adam(IReadOnlyList<ParameterGroup> groups, double beta1 = 0.9, double beta2 = 0.999, double epsilon = 1e-8,
        float weightDecay = 0) : this(groups, beta1, beta2, epsilon, weightDecay, decoupled: false) { }

    private protected Adam(IReadOnlyList<ParameterGroup> groups, double beta1, double beta2, double epsilon, float weightDecay,
        bool decoupled) : base(groups, weightDecay, "m", "v")
    {
        if (beta1 is not (>= 0 and < 1)) throw new ArgumentOutOfRangeException(nameof(beta1), beta1, "beta1 is in [0, 1)");
        if (beta2 is not (>= 0 and < 1)) throw new ArgumentOutOfRangeException(nameof(beta2), beta2, "beta2 is in [0, 1)");
        (this.beta1, this.beta2, this.epsilon, this.decoupled) = (beta1, beta2, (float)epsilon, decoupled);
    }

    /// <inheritdoc/>
    protected internal override void Update(Tensor parameter, Tensor gradient, Tensor[] state, long updates, float lr,
        float weightDecay)
    {
        double correction1 = 1 - Math.Pow(beta1, updates), correction2 = 1 - Math.Pow(beta2, updates);
        var rule = new Rule(
            new(decoupled ? 0 : weightDecay), new(decoupled ? (float)(1 - (double)lr * weightDecay) : 1),
            new((float)beta1), new((float)(1 - beta1)), new((float)beta2), new((float)(1 - beta2)),
            new((float)(lr / correction1)), new((float)(1 / Math.Sqrt(correction2))), new(epsilon));
        ElementUpdate.Run(rule, gradient, parameter, state[0], state[1]);
    }

    private readonly struct Rule(Vector<float> decay, Vector<float> shrink, Vector<float> beta1, Vector<float> rest1,
        Vector<float> beta2, Vector<float> rest2, Vector<float> step, Vector<float> scale, Vector<float> epsilon) : IElementRule
    {
        public static int States => 2;

        public void Apply(Vector<float> x, ref Vector<float> y, ref Vector<float> a, ref Vector<float> b)
        {
            x += decay * y;
            a = beta1 * a + rest1 * x;
            b = beta2 * b + rest2 * (x * x);
            y = shrink * y - step * a / (Vector.SquareRoot(b) * scale + epsilon);
        }
    }
}

/// <summary>
/// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101) as in <c>torch.optim.AdamW</c>: w shrinks by
/// the factor 1 - lr·wd before the update, and the gradient stays as it is.
/// </summary>
public sealed class AdamW(IReadOnlyList<ParameterGroup> groups, double beta1 = 0.9, double beta2 = 0.999, double epsilon = 1e-8,
    float weightDecay = 0.01f) : Adam(groups, beta1, beta2, epsilon, weightDecay, decoupled: true);
