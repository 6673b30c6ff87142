using System.Numerics;
using Espalier.Tensors;

namespace Espalier.Optim;

/// <summary>
/// Gradient descent with momentum as in <c>torch.optim.SGD</c> (dampening 0): g += wd·w; m = momentum·m + g;
/// w -= lr·m, or with Nesterov w -= lr·(g + momentum·m).
/// </summary>
public sealed class Sgd : Optimizer
{
    private readonly float momentum;
    private readonly bool nesterov;

    public Sgd(IReadOnlyList<ParameterGroup> groups, float momentum = 0, float weightDecay = 0, bool nesterov = false)
        : base(groups, weightDecay, momentum == 0 ? [] : ["momentum"])
    {
        ArgumentOutOfRangeException.ThrowIfNegative(momentum);
        if (nesterov && momentum == 0) throw new ArgumentException("Nesterov needs a momentum above 0", nameof(nesterov));
        (this.momentum, this.nesterov) = (momentum, nesterov);
    }

    /// <inheritdoc/>
    protected internal override void Update(Tensor parameter, Tensor gradient, Tensor[] state, long updates, float lr,
        float weightDecay)
    {
        if (momentum == 0)
        {
            ElementUpdate.Run(new Plain(new(lr), new(weightDecay)), gradient, parameter, null, null);
            return;
        }
        var rule = new Momentum(new(lr), new(weightDecay), new(momentum), nesterov);
        ElementUpdate.Run(rule, gradient, parameter, state[0], null);
    }

    private readonly struct Plain(Vector<float> lr, Vector<float> decay) : IElementRule
    {
        public static int States => 0;

        public void Apply(Vector<float> x, ref Vector<float> y, ref Vector<float> a, ref Vector<float> b) =>
            y -= lr * (x + decay * y);
    }

    private readonly struct Momentum(Vector<float> lr, Vector<float> decay, Vector<float> momentum, bool nesterov) : IElementRule
    {
        public static int States => 1;

        public void Apply(Vector<float> x, ref Vector<float> y, ref Vector<float> a, ref Vector<float> b)
        {
            x += decay * y;
            a = momentum * a + x;
            y -= lr * (nesterov ? x + momentum * a : a);
        }
    }
}
