using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>EfficientNet-B0 (Tan and Le, arXiv 1905.11946) with torchvision's names; without its stochastic depth.</summary>
public sealed class EfficientNet : Cnn
{
    // Expansion, kernel, stride of the first block, channels, blocks (table 1).
    private static readonly (int Expansion, int Kernel, int Stride, int Channels, int Count)[] Stages =
    [
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ];

    private readonly Sequential features = new();
    private readonly Sequential classifier;

    public EfficientNet(CnnConfig config, ref Rng rng) : base(config)
    {
        int width = config.Scaled(32), last = config.Scaled(1280);
        Sequential stem = new Sequential().Conv(config.Channels, width, 3, ref rng, stride: 2).BatchNorm(width).Add(F.Silu);
        features.Add(stem, stem.Forward);
        foreach (var (expansion, kernel, stride, channels, count) in Stages)
        {
            var stage = new Sequential();
            int outputs = config.Scaled(channels);
            for (int i = 0; i < count; i++)
            {
                var block = new MbConv(width, outputs, expansion, kernel, i == 0 ? stride : 1, ref rng);
                stage.Add(block, block.Forward);
                width = outputs;
            }
            features.Add(stage, stage.Forward);
        }
        Sequential top = new Sequential().Conv(width, last, 1, ref rng).BatchNorm(last).Add(F.Silu);
        features.Add(top, top.Forward);
        Child("features", features);
        classifier = Child("classifier", new Sequential().Dropout(0.2f).Linear(last, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images) => classifier.Forward(F.GlobalAvgPool2d(features.Forward(images)));
}

/// <summary>An inverted residual with squeeze and excitation before its last convolution.</summary>
public sealed class MbConv : LinearBottleneck
{
    private readonly Sequential block = new();

    public MbConv(int inputs, int outputs, int expansion, int kernel, int stride, ref Rng rng)
        : base(inputs, outputs, stride)
    {
        int hidden = inputs * expansion;
        if (expansion != 1)
        {
            Sequential expand = new Sequential().Conv(inputs, hidden, 1, ref rng).BatchNorm(hidden).Add(F.Silu);
            block.Add(expand, expand.Forward);
        }
        Sequential depthwise = new Sequential().Conv(hidden, hidden, kernel, ref rng, stride, groups: hidden).BatchNorm(hidden)
            .Add(F.Silu);
        var excitation = new SqueezeExcitation(hidden, Math.Max(1, inputs / 4), ref rng);
        Sequential project = new Sequential().Conv(hidden, outputs, 1, ref rng).BatchNorm(outputs);
        block.Add(depthwise, depthwise.Forward).Add(excitation, excitation.Forward).Add(project, project.Forward);
        Child("block", block);
    }

    /// <inheritdoc/>
    public override Tensor Branch(Tensor x) => block.Forward(x);
}

/// <summary>
/// Squeeze and excitation (Hu et al., arXiv 1709.01507): each channel is scaled by what two small layers make of all channels'
/// means.
/// </summary>
public sealed class SqueezeExcitation : Module
{
    private readonly Conv2d fc1, fc2;

    public SqueezeExcitation(int channels, int squeezed, ref Rng rng)
    {
        fc1 = Child("fc1", Conv(channels, squeezed, 1, ref rng, bias: true));
        fc2 = Child("fc2", Conv(squeezed, channels, 1, ref rng, bias: true));
    }

    public Tensor Forward(Tensor x)
    {
        Tensor means = F.Mean(x, [2, 3], keepDims: true);                 // [N, C, 1, 1]
        return x * F.Sigmoid(fc2.Forward(F.Silu(fc1.Forward(means))));
    }
}
