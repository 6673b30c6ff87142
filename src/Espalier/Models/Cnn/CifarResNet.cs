using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>
/// Residual networks for small images (He et al., arXiv 1512.03385, section 4.2): a 3x3 stem and three stages of widths 16, 32
/// and 64. Where a stage begins, the shortcut takes every second pixel and pads channels with zeros: it has no parameters.
/// </summary>
public sealed class CifarResNet : Cnn
{
    private readonly Conv2d stem;
    private readonly BatchNorm2d norm;
    private readonly CifarBlock[] blocks;
    private readonly Linear classifier;

    /// <param name="depth">6n + 2, such as 20, 56 or 110.</param>
    public CifarResNet(int depth, CnnConfig config, ref Rng rng) : base(config)
    {
        if (depth < 8 || (depth - 2) % 6 != 0)
            throw new ArgumentOutOfRangeException(nameof(depth), depth, "a CIFAR ResNet has 6n + 2 layers");
        int width = config.Scaled(16);
        stem = Child("conv1", Conv(config.Channels, width, 3, ref rng));
        norm = Child("bn1", new BatchNorm2d(width));
        var all = new List<CifarBlock>();
        for (int stage = 0; stage < 3; stage++)
        {
            int planes = config.Scaled(16 << stage);
            for (int i = 0; i < (depth - 2) / 6; i++)
            {
                all.Add(Child($"layer{stage + 1}.{i}", new CifarBlock(width, planes, stage > 0 && i == 0 ? 2 : 1, ref rng)));
                width = planes;
            }
        }
        blocks = [.. all];
        classifier = Child("linear", new Linear(width, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images)
    {
        Tensor x = F.Relu(norm.Forward(stem.Forward(images)));
        foreach (CifarBlock block in blocks) x = block.Forward(x);
        return classifier.Forward(F.GlobalAvgPool2d(x));
    }
}

/// <summary>Two 3x3 convolutions beside a shortcut without parameters.</summary>
public sealed class CifarBlock : ResidualBlock
{
    private readonly Conv2d conv1, conv2;
    private readonly BatchNorm2d bn1, bn2;
    private readonly int stride, before, after;

    public CifarBlock(int inputs, int planes, int stride, ref Rng rng)
    {
        this.stride = stride;
        before = (planes - inputs) / 2;
        after = planes - inputs - before;
        conv1 = Child("conv1", Conv(inputs, planes, 3, ref rng, stride));
        bn1 = Child("bn1", new BatchNorm2d(planes));
        conv2 = Child("conv2", Conv(planes, planes, 3, ref rng));
        bn2 = Child("bn2", new BatchNorm2d(planes));
    }

    /// <inheritdoc/>
    public override bool HasIdentityShortcut => stride == 1 && before == 0 && after == 0;

    /// <inheritdoc/>
    public override Tensor Branch(Tensor x) => bn2.Forward(conv2.Forward(F.Relu(bn1.Forward(conv1.Forward(x)))));

    /// <inheritdoc/>
    public override Tensor Shortcut(Tensor x)
    {
        if (stride != 1) x = F.AvgPool2d(x, 1, stride);
        return before == 0 && after == 0 ? x : F.Pad(x, [(0, 0), (before, after), (0, 0), (0, 0)]);
    }
}
