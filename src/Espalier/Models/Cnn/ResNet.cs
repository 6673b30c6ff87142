using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>
/// Residual networks (He et al., arXiv 1512.03385) for large images, with torchvision's names: a 7x7 stem, four stages, the mean,
/// one linear layer.
/// </summary>
public sealed class ResNet : Cnn
{
    private readonly Conv2d stem;
    private readonly BatchNorm2d norm;
    private readonly ResidualBlock[] blocks;
    private readonly Linear classifier;

    /// <param name="depth">18, 34, 50 or 101.</param>
    public ResNet(int depth, CnnConfig config, ref Rng rng) : base(config)
    {
        bool bottleneck = depth >= 50;
        int[] counts = depth switch
        {
            18 => [2, 2, 2, 2],
            34 or 50 => [3, 4, 6, 3],
            101 => [3, 4, 23, 3],
            _ => throw new ArgumentOutOfRangeException(nameof(depth), depth, "ResNet has 18, 34, 50 or 101 layers"),
        };
        int width = config.Scaled(64);
        stem = Child("conv1", Conv(config.Channels, width, 7, ref rng, stride: 2));
        norm = Child("bn1", new BatchNorm2d(width));
        var all = new List<ResidualBlock>();
        for (int stage = 0; stage < counts.Length; stage++)
        {
            int planes = config.Scaled(64 << stage);
            for (int i = 0; i < counts[stage]; i++)
            {
                int stride = stage > 0 && i == 0 ? 2 : 1;
                ResidualBlock block = bottleneck
                    ? new BottleneckBlock(width, planes, stride, ref rng) : new BasicBlock(width, planes, stride, ref rng);
                all.Add(Child($"layer{stage + 1}.{i}", block));
                width = bottleneck ? 4 * planes : planes;
            }
        }
        blocks = [.. all];
        classifier = Child("fc", new Linear(width, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images)
    {
        Tensor x = F.Relu(norm.Forward(stem.Forward(images)));
        x = F.MaxPool2d(x, 3, 2, 1);
        foreach (ResidualBlock block in blocks) x = block.Forward(x);
        return classifier.Forward(F.GlobalAvgPool2d(x));
    }
}

/// <summary>A block whose shortcut is a strided 1x1 convolution where the shape changes.</summary>
public abstract class DownsampledBlock : ResidualBlock
{
    private Sequential? downsample;

    /// <inheritdoc/>
    public override bool HasIdentityShortcut => downsample is null;

    /// <inheritdoc/>
    public override Tensor Shortcut(Tensor x) => downsample?.Forward(x) ?? x;

    /// <summary>Called at the end of the constructor, so that the shortcut's layers come after the branch's.</summary>
    private protected void AddShortcut(int inputs, int outputs, int stride, ref Rng rng)
    {
        if (stride != 1 || inputs != outputs)
            downsample = Child("downsample", new Sequential().Conv(inputs, outputs, 1, ref rng, stride).BatchNorm(outputs));
    }
}

/// <summary>Two 3x3 convolutions; a 1x1 convolution on the shortcut where the shape changes.</summary>
public sealed class BasicBlock : DownsampledBlock
{
    private readonly Conv2d conv1, conv2;
    private readonly BatchNorm2d bn1, bn2;

    public BasicBlock(int inputs, int planes, int stride, ref Rng rng)
    {
        conv1 = Child("conv1", Conv(inputs, planes, 3, ref rng, stride));
        bn1 = Child("bn1", new BatchNorm2d(planes));
        conv2 = Child("conv2", Conv(planes, planes, 3, ref rng));
        bn2 = Child("bn2", new BatchNorm2d(planes));
        AddShortcut(inputs, planes, stride, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Branch(Tensor x) => bn2.Forward(conv2.Forward(F.Relu(bn1.Forward(conv1.Forward(x)))));
}

/// <summary>1x1, 3x3 (which has the stride) and 1x1 to four times the planes.</summary>
public sealed class BottleneckBlock : DownsampledBlock
{
    private readonly Conv2d conv1, conv2, conv3;
    private readonly BatchNorm2d bn1, bn2, bn3;

    public BottleneckBlock(int inputs, int planes, int stride, ref Rng rng)
    {
        int outputs = 4 * planes;
        conv1 = Child("conv1", Conv(inputs, planes, 1, ref rng));
        bn1 = Child("bn1", new BatchNorm2d(planes));
        conv2 = Child("conv2", Conv(planes, planes, 3, ref rng, stride));
        bn2 = Child("bn2", new BatchNorm2d(planes));
        conv3 = Child("conv3", Conv(planes, outputs, 1, ref rng));
        bn3 = Child("bn3", new BatchNorm2d(outputs));
        AddShortcut(inputs, outputs, stride, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Branch(Tensor x)
    {
        x = F.Relu(bn1.Forward(conv1.Forward(x)));
        x = F.Relu(bn2.Forward(conv2.Forward(x)));
        return bn3.Forward(conv3.Forward(x));
    }
}
