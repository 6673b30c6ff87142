using System.Numerics;
using Espalier.Tensors;

namespace Espalier.Optim;

/// <summary>
/// Rectified Adam (Liu et al., arXiv 1908.03265, algorithm 2): Adam whose step is scaled by r_t, the share of the adaptive
/// rate's variance that has settled, and that needs no warm-up for it. With ρ_∞ = 2/(1-b2) - 1 and
/// ρ_t = ρ_∞ - 2t·b2^t/(1-b2^t), from ρ_t ≥ <see cref="Settled"/> on
/// w -= lr·r_t·sqrt(1-b2^t)/(1-b1^t)·m/(sqrt(v) + eps); before, w -= lr·m/(1-b1^t). Weight decay is decoupled.
/// </summary>
public class RAdam : Optimizer
{
    private readonly double beta1, beta2;
    private readonly float epsilon;
    private readonly bool early;

    /// <param name="early">
    /// Whether the first steps, in which ρ_t is too low, move along the momentum; else they only gather it, as the authors'
    /// code does.
    /// </param>
    public RAdam(IReadOnlyList<ParameterGroup> groups, double beta1 = 0.9, double beta2 = 0.999, double epsilon = 1e-8,
        float weightDecay = 0, bool early = true) : base(groups, weightDecay, "m", "v")
    {
        if (beta1 is not (>= 0 and < 1)) throw new ArgumentOutOfRangeException(nameof(beta1), beta1, "beta1 is in [0, 1)");
        if (beta2 is not (>= 0 and < 1)) throw new ArgumentOutOfRangeException(nameof(beta2), beta2, "beta2 is in [0, 1)");
        (this.beta1, this.beta2, this.epsilon, this.early) = (beta1, beta2, (float)epsilon, early);
    }

    /// <summary>ρ_t from which on the adaptive rate is used: 5 as in the authors' code (the paper has 4).</summary>
    public double Settled { get; init; } = 5;

    /// <summary>ρ_t: how many samples the second moment's average is worth after <paramref name="updates"/> steps.</summary>
    public static double Samples(double beta2, long updates)
    {
        double power = Math.Pow(beta2, updates);
        return 2 / (1 - beta2) - 1 - 2 * updates * power / (1 - power);
    }

    /// <summary>r_t; only where ρ_t is above 4.</summary>
    public static double Rectification(double beta2, long updates)
    {
        double most = 2 / (1 - beta2) - 1, now = Samples(beta2, updates);
        return Math.Sqrt((now - 4) * (now - 2) * most / ((most - 4) * (most - 2) * now));
    }

    /// <inheritdoc/>
    protected internal override void Update(Tensor parameter, Tensor gradient, Tensor[] state, long updates, float lr,
        float weightDecay)
    {
        bool adaptive = Samples(beta2, updates) >= Settled, moves = adaptive || early;
        double step = moves ? lr / (1 - Math.Pow(beta1, updates)) : 0;
        if (adaptive) step *= Rectification(beta2, updates) * Math.Sqrt(1 - Math.Pow(beta2, updates));
        var rule = new Rule(new(moves ? (float)(1 - (double)lr * weightDecay) : 1), new((float)beta1), new((float)(1 - beta1)),
            new((float)beta2), new((float)(1 - beta2)), new((float)step), new(epsilon), adaptive);
        ElementUpdate.Run(rule, gradient, parameter, state[0], state[1]);
    }

    private readonly struct Rule(Vector<float> shrink, Vector<float> beta1, Vector<float> rest1, Vector<float> beta2,
        Vector<float> rest2, Vector<float> step, Vector<float> epsilon, bool adaptive) : IElementRule
    {
        public static int States => 2;

        public void Apply(Vector<float> x, ref Vector<float> y, ref Vector<float> a, ref Vector<float> b)
        {
            a = beta1 * a + rest1 * x;
            b = beta2 * b + rest2 * (x * x);
            Vector<float> move = adaptive ? a / (Vector.SquareRoot(b) + epsilon) : a;
            y = shrink * y - step * move;
        }
    }
}
