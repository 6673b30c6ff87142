using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>
/// DenseNet for small images without bottlenecks (Huang et al., arXiv 1608.06993, section 4.2), growth 12, with the names of
/// Network Slimming's PyTorch code: a 3x3 stem and three blocks. Every norm reads a concat, and a list of channels behind it says
/// which go on, so that pruning never moves the parts of a concat.
/// </summary>
public sealed class CifarDenseNet : Cnn
{
    private readonly Conv2d stem;
    private readonly List<SelectedConv> steps = [];
    private readonly BatchNorm2d norm;
    private readonly ChannelSelect select;
    private readonly Linear classifier;

    /// <param name="depth">3n + 4, such as 40: n layers a block.</param>
    public CifarDenseNet(int depth, CnnConfig config, ref Rng rng) : base(config)
    {
        if (depth < 7 || (depth - 4) % 3 != 0)
            throw new ArgumentOutOfRangeException(nameof(depth), depth, "a CIFAR DenseNet has 3n + 4 layers");
        int growth = config.Scaled(12), width = 2 * growth;
        stem = Child("conv1", Conv(config.Channels, width, 3, ref rng));
        for (int block = 1; block <= 3; block++)
        {
            for (int i = 0; i < (depth - 4) / 3; i++, width += growth)
                steps.Add(Child($"dense{block}.{i}", new CifarDenseLayer(width, growth, ref rng)));
            if (block < 3) steps.Add(Child($"trans{block}", new CifarDenseTransition(width, ref rng)));
        }
        norm = Child("bn", new BatchNorm2d(width));
        select = Child("select", new ChannelSelect(width));
        classifier = Child("fc", new Linear(width, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images)
    {
        Tensor x = stem.Forward(images);
        foreach (SelectedConv step in steps) x = step.Forward(x);
        return classifier.Forward(F.GlobalAvgPool2d(F.Relu(select.Forward(norm.Forward(x)))));
    }
}

/// <summary>Norm, a list of channels, ReLU, convolution.</summary>
public abstract class SelectedConv : Module
{
    private readonly BatchNorm2d norm;
    private readonly ChannelSelect select;
    private readonly Conv2d conv;

    private protected SelectedConv(int inputs, int outputs, int kernel, ref Rng rng)
    {
        norm = Child("bn1", new BatchNorm2d(inputs));
        select = Child("select", new ChannelSelect(inputs));
        conv = Child("conv1", Conv(inputs, outputs, kernel, ref rng));
    }

    public abstract Tensor Forward(Tensor x);

    private protected Tensor Convolve(Tensor x) => conv.Forward(F.Relu(select.Forward(norm.Forward(x))));
}

/// <summary>A 3x3 convolution to the growth; the result is put beside what came in.</summary>
public sealed class CifarDenseLayer(int inputs, int growth, ref Rng rng) : SelectedConv(inputs, growth, 3, ref rng)
{
    /// <inheritdoc/>
    public override Tensor Forward(Tensor x) => F.Concat(1, x, Convolve(x));
}

/// <summary>Between blocks: a 1x1 convolution to the same width, and half the size.</summary>
public sealed class CifarDenseTransition(int inputs, ref Rng rng) : SelectedConv(inputs, inputs, 1, ref rng)
{
    /// <inheritdoc/>
    public override Tensor Forward(Tensor x) => F.AvgPool2d(Convolve(x), 2);
}
