using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>
/// EfficientNet (Tan and Le, arXiv 1905.11946) with torchvision's names; without its stochastic depth. The larger ones are the
/// first, B0, with more channels and more blocks.
/// </summary>
public sealed class EfficientNet : Cnn
{
    private const int Divisor = 8;

    // Expansion, kernel, stride of the first block, channels, blocks (table 1).
    private static readonly (int Expansion, int Kernel, int Stride, int Channels, int Count)[] Stages =
    [
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ];

    private readonly Sequential features = new();
    private readonly Sequential classifier;

    /// <param name="wider">What the channel counts are multiplied with.</param>
    /// <param name="deeper">What the numbers of blocks are multiplied with.</param>
    public EfficientNet(double wider, double deeper, float dropout, CnnConfig config, ref Rng rng) : base(config)
    {
        int width = config.Scaled(Divisible(32 * wider, Divisor)), last = config.Scaled(4 * Divisible(320 * wider, Divisor));
        features.Layer(config.Channels, width, 3, ref rng, F.Silu, stride: 2);
        foreach (var (expansion, kernel, stride, channels, count) in Stages)
        {
            var stage = new Sequential();
            int outputs = config.Scaled(Divisible(channels * wider, Divisor));
            for (int i = 0; i < (int)Math.Ceiling(count * deeper); i++)
            {
                int hidden = width * expansion;
                var excitation = new SqueezeExcitation(hidden, Math.Max(1, width / 4), ref rng, F.Silu, F.Sigmoid);
                var block = new MbConv(width, hidden, outputs, kernel, i == 0 ? stride : 1, F.Silu, excitation, ref rng);
                stage.Add(block, block.Forward);
                width = outputs;
            }
            features.Add(stage, stage.Forward);
        }
        Child("features", features.Layer(width, last, 1, ref rng, F.Silu));
        classifier = Child("classifier", new Sequential().Dropout(dropout).Linear(last, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images) => classifier.Forward(F.GlobalAvgPool2d(features.Forward(images)));
}

/// <summary>An inverted residual, with squeeze and excitation before its last convolution where it has one.</summary>
public sealed class MbConv : LinearBottleneck
{
    private readonly Sequential block = new();

    /// <param name="hidden">Channels of the depthwise convolution; nothing widens where they are the inputs.</param>
    public MbConv(int inputs, int hidden, int outputs, int kernel, int stride, Func<Tensor, Tensor> activation,
        SqueezeExcitation? excitation, ref Rng rng, float epsilon = 1e-5f, float momentum = 0.1f) : base(inputs, outputs, stride)
    {
        if (hidden != inputs) block.Layer(inputs, hidden, 1, ref rng, activation, epsilon: epsilon, momentum: momentum);
        block.Layer(hidden, hidden, kernel, ref rng, activation, stride, groups: hidden, epsilon, momentum);
        if (excitation is not null) block.Add(excitation, excitation.Forward);
        Child("block", block.Layer(hidden, outputs, 1, ref rng, null, epsilon: epsilon, momentum: momentum));
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
    private readonly Func<Tensor, Tensor> activation, scale;

    /// <param name="activation">Between the two layers.</param>
    /// <param name="scale">After them: what a channel is multiplied with.</param>
    public SqueezeExcitation(int channels, int squeezed, ref Rng rng, Func<Tensor, Tensor> activation, Func<Tensor, Tensor> scale)
    {
        (this.activation, this.scale) = (activation, scale);
        fc1 = Child("fc1", Conv(channels, squeezed, 1, ref rng, bias: true));
        fc2 = Child("fc2", Conv(squeezed, channels, 1, ref rng, bias: true));
    }

    public Tensor Forward(Tensor x)
    {
        Tensor means = F.Mean(x, [2, 3], keepDims: true);                 // [N, C, 1, 1]
        return x * scale(fc2.Forward(activation(fc1.Forward(means))));
    }
}
