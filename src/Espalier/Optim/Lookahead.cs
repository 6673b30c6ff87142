using System.Numerics;
using Espalier.Tensors;

namespace Espalier.Optim;

/// <summary>
/// Lookahead (Zhang et al., arXiv 1907.08610, algorithm 1): another optimiser runs ahead, and after every k of its steps slow
/// weights follow, slow += α·(w - slow), and it goes on from there, w = slow. The inner optimiser keeps its momentum.
/// <para>The slow weights, "slow" in the state, are part of a checkpoint. The model holds them after every k-th step: let k
/// divide the number of steps, so that they are what is evaluated and saved.</para>
/// </summary>
public sealed class Lookahead : Optimizer
{
    private readonly Optimizer inner;
    private readonly int every;
    private readonly float rate;

    /// <param name="inner">Its groups and weight decay are taken over; it must not be stepped on its own.</param>
    /// <param name="every">k.</param>
    /// <param name="rate">α in (0, 1].</param>
    public Lookahead(Optimizer inner, int every = 5, float rate = 0.8f) : base(inner.Groups, inner.WeightDecay,
        [.. inner.Slots, "slow"])
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(every, 1);
        if (rate is not (> 0 and <= 1)) throw new ArgumentOutOfRangeException(nameof(rate), rate, "the rate is in (0, 1]");
        (this.inner, this.every, this.rate) = (inner, every, rate);
    }

    /// <inheritdoc/>
    protected internal override void Update(Tensor parameter, Tensor gradient, Tensor[] state, long updates, float lr,
        float weightDecay)
    {
        Tensor slow = state[^1];
        if (updates == 1) slow.CopyFrom(parameter);
        inner.Update(parameter, gradient, state, updates, lr, weightDecay);
        if (updates % every == 0) ElementUpdate.Run(new Merge(new(rate)), parameter, parameter, slow, null);
    }

    private protected override bool FollowsWeights(int slot) => slot == Slots.Count - 1;

    /// <summary>y is the weight, a the slow one.</summary>
    private readonly struct Merge(Vector<float> rate) : IElementRule
    {
        public static int States => 1;

        public void Apply(Vector<float> x, ref Vector<float> y, ref Vector<float> a, ref Vector<float> b) =>
            y = a += rate * (y - a);
    }
}
