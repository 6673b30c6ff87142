using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>
/// Pre-activation bottleneck networks for small images (He et al., arXiv 1603.05027) with the names of Network Slimming's PyTorch
/// code: a stem without norm, three stages, a norm at the end. The norms that read the stream are followed by a list of the
/// channels that go on, so that pruning leaves the stream whole.
/// </summary>
public sealed class PreActResNet : Cnn
{
    private readonly Conv2d stem;
    private readonly PreActBlock[] blocks;
    private readonly BatchNorm2d norm;
    private readonly ChannelSelect select;
    private readonly Linear classifier;

    /// <param name="depth">9n + 2, such as 20, 56, 110 or 164.</param>
    public PreActResNet(int depth, CnnConfig config, ref Rng rng) : base(config)
    {
        if (depth < 11 || (depth - 2) % 9 != 0)
            throw new ArgumentOutOfRangeException(nameof(depth), depth, "a pre-activation bottleneck ResNet has 9n + 2 layers");
        int width = config.Scaled(16);
        stem = Child("conv1", Conv(config.Channels, width, 3, ref rng));
        var all = new List<PreActBlock>();
        for (int stage = 0; stage < 3; stage++)
        {
            int planes = config.Scaled(16 << stage);
            for (int i = 0; i < (depth - 2) / 9; i++)
            {
                all.Add(Child($"layer{stage + 1}.{i}", new PreActBlock(width, planes, stage > 0 && i == 0 ? 2 : 1, ref rng)));
                width = 4 * planes;
            }
        }
        blocks = [.. all];
        norm = Child("bn", new BatchNorm2d(width));
        select = Child("select", new ChannelSelect(width));
        classifier = Child("fc", new Linear(width, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images)
    {
        Tensor x = stem.Forward(images);
        foreach (PreActBlock block in blocks) x = block.Forward(x);
        return classifier.Forward(F.GlobalAvgPool2d(F.Relu(select.Forward(norm.Forward(x)))));
    }
}

/// <summary>
/// Norm and ReLU before each of 1x1, 3x3 and 1x1 to four times the width; nothing follows the sum. Where the width changes, the
/// shortcut is a 1x1 convolution of the block's own input, which no norm has seen.
/// </summary>
public sealed class PreActBlock : ResidualBlock
{
    private readonly BatchNorm2d bn1, bn2, bn3;
    private readonly ChannelSelect select;
    private readonly Conv2d conv1, conv2, conv3;
    private readonly Sequential? downsample;

    public PreActBlock(int inputs, int planes, int stride, ref Rng rng)
    {
        bn1 = Child("bn1", new BatchNorm2d(inputs));
        select = Child("select", new ChannelSelect(inputs));
        conv1 = Child("conv1", Conv(inputs, planes, 1, ref rng));
        bn2 = Child("bn2", new BatchNorm2d(planes));
        conv2 = Child("conv2", Conv(planes, planes, 3, ref rng, stride));
        bn3 = Child("bn3", new BatchNorm2d(planes));
        conv3 = Child("conv3", Conv(planes, 4 * planes, 1, ref rng));
        if (stride != 1 || inputs != 4 * planes)
            downsample = Child("downsample", new Sequential().Conv(inputs, 4 * planes, 1, ref rng, stride));
    }

    /// <inheritdoc/>
    public override bool HasIdentityShortcut => downsample is null;

    /// <inheritdoc/>
    public override Tensor Branch(Tensor x)
    {
        x = conv1.Forward(F.Relu(select.Forward(bn1.Forward(x))));
        x = conv2.Forward(F.Relu(bn2.Forward(x)));
        return conv3.Forward(F.Relu(bn3.Forward(x)));
    }

    /// <inheritdoc/>
    public override Tensor Shortcut(Tensor x) => downsample?.Forward(x) ?? x;

    /// <inheritdoc/>
    protected override Tensor Activate(Tensor sum) => sum;
}
