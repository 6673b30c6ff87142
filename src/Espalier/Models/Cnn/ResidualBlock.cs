using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>activation(branch(x) + shortcut(x)): what residual networks repeat.</summary>
public abstract class ResidualBlock : Module
{
    /// <summary>Whether the shortcut hands the input on unchanged, so that the branch can be left out for good.</summary>
    public abstract bool HasIdentityShortcut { get; }

    /// <summary>False for a block that is its branch alone, because input and output differ in shape.</summary>
    public virtual bool HasShortcut => true;

    /// <summary>
    /// How a branch that has become narrower than the shortcut is added to it, by a list of channels; null for a plain sum.
    /// </summary>
    public ChannelAdd? Scatter { get; private set; }

    /// <summary>Whether the branch is gone for good: the block hands its input on, and has no parameters.</summary>
    public bool IsRemoved { get; private set; }

    public Tensor Forward(Tensor x)
    {
        // No activation: x has been through that of the block before.
        if (IsRemoved) return x;
        if (!HasShortcut) return Activate(Branch(x));
        return Activate(Sum(Branch(x), Shortcut(x)));
    }

    /// <summary>f(x), up to its last batch norm or convolution.</summary>
    public abstract Tensor Branch(Tensor x);

    /// <summary>x, brought to the branch's shape.</summary>
    public abstract Tensor Shortcut(Tensor x);

    /// <summary>branch + shortcut, where the branch may have lost channels.</summary>
    public Tensor Sum(Tensor branch, Tensor shortcut) => Scatter?.Forward(shortcut, branch) ?? branch + shortcut;

    /// <summary>
    /// From now on the branch may lose channels that the stream keeps. The lists are in the state as <c>scatter.index</c> and
    /// <c>scatter.shift</c>; blocks without are as published.
    /// </summary>
    /// <param name="channels">Of the stream.</param>
    internal void AddScatter(int channels) => Scatter ??= Child("scatter", new ChannelAdd(channels));

    /// <summary>Frees the branch; <see cref="HasIdentityShortcut"/> only.</summary>
    internal void Remove()
    {
        if (!HasIdentityShortcut) throw new InvalidOperationException("the block's shortcut is not an identity");
        FreeChildren();
        (Scatter, IsRemoved) = (null, true);
    }

    /// <summary>What follows the sum: ReLU, where a network does not say otherwise.</summary>
    protected virtual Tensor Activate(Tensor sum) => F.Relu(sum);
}

/// <summary>
/// A branch that ends narrow and without activation, and is added to its input where the shapes agree (Sandler et al.,
/// arXiv 1801.04381): what mobile networks repeat.
/// </summary>
public abstract class LinearBottleneck(int inputs, int outputs, int stride) : ResidualBlock
{
    /// <inheritdoc/>
    public override bool HasIdentityShortcut { get; } = stride == 1 && inputs == outputs;

    /// <inheritdoc/>
    public override bool HasShortcut => HasIdentityShortcut;

    /// <inheritdoc/>
    public override Tensor Shortcut(Tensor x) => x;

    /// <inheritdoc/>
    protected override Tensor Activate(Tensor sum) => sum;
}
