using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>MobileNetV2 (Sandler et al., arXiv 1801.04381) with torchvision's names.</summary>
public sealed class MobileNetV2 : Cnn
{
    // Expansion, channels, blocks, stride of the first block (table 2).
    private static readonly (int Expansion, int Channels, int Count, int Stride)[] Stages =
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

    private readonly Sequential features = new();
    private readonly Sequential classifier;

    public MobileNetV2(CnnConfig config, ref Rng rng) : base(config)
    {
        int width = config.Scaled(32), last = config.Scaled(1280);
        features.Layer(config.Channels, width, 3, ref rng, Relu6, stride: 2);
        foreach (var (expansion, channels, count, stride) in Stages)
        {
            int outputs = config.Scaled(channels);
            for (int i = 0; i < count; i++)
            {
                var block = new InvertedResidual(width, outputs, expansion, i == 0 ? stride : 1, ref rng);
                features.Add(block, block.Forward);
                width = outputs;
            }
        }
        Child("features", features.Layer(width, last, 1, ref rng, Relu6));
        classifier = Child("classifier", new Sequential().Dropout(0.2f).Linear(last, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images) => classifier.Forward(F.GlobalAvgPool2d(features.Forward(images)));
}

/// <summary>Wider by a 1x1 convolution, depthwise 3x3, narrow again by 1x1 without activation.</summary>
public sealed class InvertedResidual : LinearBottleneck
{
    private readonly Sequential conv = new();

    public InvertedResidual(int inputs, int outputs, int expansion, int stride, ref Rng rng)
        : base(inputs, outputs, stride)
    {
        int hidden = inputs * expansion;
        if (expansion != 1) conv.Layer(inputs, hidden, 1, ref rng, Relu6);
        conv.Layer(hidden, hidden, 3, ref rng, Relu6, stride, groups: hidden);
        Child("conv", conv.Conv(hidden, outputs, 1, ref rng).BatchNorm(outputs));
    }

    /// <inheritdoc/>
    public override Tensor Branch(Tensor x) => conv.Forward(x);
}
