using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// ConvNeXt-Tiny (Liu et al., arXiv 2201.03545) with torchvision's names: a transformer's order of layers with depthwise
/// convolutions in the place of attention; without its stochastic depth.
/// </summary>
public sealed class ConvNeXt : Cnn
{
    private const float Epsilon = 1e-6f, Deviation = 0.02f;

    private static readonly (int Channels, int Count)[] Stages = [(96, 3), (192, 3), (384, 9), (768, 3)];

    private readonly Sequential features = new();
    private readonly Sequential classifier;

    public ConvNeXt(CnnConfig config, ref Rng rng) : base(config)
    {
        int width = config.Channels;
        for (int stage = 0; stage < Stages.Length; stage++)
        {
            int outputs = config.Scaled(Stages[stage].Channels), patch = stage == 0 ? 4 : 2;
            var smaller = new Conv2d(width, outputs, patch, ref rng, stride: patch);
            Sequential down = stage == 0 ? new Sequential().Add(smaller, smaller.Forward) : new Sequential();
            var norm = new LayerNorm(stage == 0 ? outputs : width, Epsilon);
            down.Add(norm, x => PixelsFirst(norm.Forward(PixelsLast(x))));
            if (stage > 0) down.Add(smaller, smaller.Forward);
            var blocks = new Sequential();
            for (int i = 0; i < Stages[stage].Count; i++)
            {
                var block = new ConvNeXtBlock(outputs, Epsilon, ref rng);
                blocks.Add(block, block.Forward);
            }
            features.Add(down, down.Forward).Add(blocks, blocks.Forward);
            width = outputs;
        }
        Child("features", features);
        var last = new LayerNorm(width, Epsilon);
        classifier = Child("classifier", new Sequential().Add(last, last.Forward).Add(x => x)
            .Linear(width, config.NumClasses, ref rng));
        foreach (Conv2d layer in Descendants<Conv2d>()) Fill(layer.Weight, layer.Bias!, ref rng);
        foreach (Linear layer in Descendants<Linear>()) Fill(layer.Weight, layer.Bias!, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images) => classifier.Forward(F.GlobalAvgPool2d(features.Forward(images)));

    /// <summary>[N, C, H, W] -> [N, H, W, C].</summary>
    internal static Tensor PixelsLast(Tensor x) => F.Permute(x, 0, 2, 3, 1);

    /// <summary>[N, H, W, C] -> [N, C, H, W].</summary>
    internal static Tensor PixelsFirst(Tensor x) => F.Permute(x, 0, 3, 1, 2);

    private static void Fill(Tensor weight, Tensor bias, ref Rng rng)
    {
        Init.TruncatedNormal(weight, Deviation, ref rng);
        bias.Fill(0);
    }
}

/// <summary>Depthwise 7x7, norm, two linear layers with GELU between, each channel times a scale that is learnt.</summary>
public sealed class ConvNeXtBlock : LinearBottleneck
{
    private const float FirstScale = 1e-6f;

    private readonly Sequential block = new();
    private readonly Tensor scale;

    public ConvNeXtBlock(int channels, float epsilon, ref Rng rng) : base(channels, channels, stride: 1)
    {
        var norm = new LayerNorm(channels, epsilon);
        Child("block", block.Conv(channels, channels, 7, ref rng, groups: channels, bias: true).Add(ConvNeXt.PixelsLast)
            .Add(norm, norm.Forward).Linear(channels, 4 * channels, ref rng).Add(F.Gelu).Linear(4 * channels, channels, ref rng)
            .Add(ConvNeXt.PixelsFirst));
        scale = Parameter("layer_scale", new Shape(channels, 1, 1));
        scale.Fill(FirstScale);
    }

    /// <inheritdoc/>
    public override Tensor Branch(Tensor x) => block.Forward(x) * scale;
}
