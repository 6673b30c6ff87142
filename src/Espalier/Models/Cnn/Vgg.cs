using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>
/// VGG (Simonyan and Zisserman, arXiv 1409.1556) with torchvision's names: stages of 3x3 convolutions with a pooling after each,
/// then three linear layers.
/// </summary>
public sealed class Vgg : Cnn
{
    private readonly Sequential features, classifier;

    /// <param name="depth">11, 13, 16 or 19.</param>
    /// <param name="norm">Whether a batch norm follows each convolution.</param>
    public Vgg(int depth, bool norm, CnnConfig config, ref Rng rng) : base(config)
    {
        int map = config.ImageSize / 32, hidden = config.Scaled(4096);
        if (map < 1) throw new EspalierException($"VGG halves an image five times: its size is at least 32, not {config.ImageSize}");
        features = Child("features", Convolutions(Stages(depth), config, norm, bias: true, poolLast: true, ref rng, out int width));
        classifier = Child("classifier", new Sequential()
            .Linear(width * map * map, hidden, ref rng).Add(F.Relu).Dropout(0.5f)
            .Linear(hidden, hidden, ref rng).Add(F.Relu).Dropout(0.5f)
            .Linear(hidden, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images) => classifier.Forward(Flatten(features.Forward(images)));

    /// <summary>Convolutions in each of the five stages.</summary>
    internal static int[] Stages(int depth) => depth switch
    {
        11 => [1, 1, 2, 2, 2],
        13 => [2, 2, 2, 2, 2],
        16 => [2, 2, 3, 3, 3],
        19 => [2, 2, 4, 4, 4],
        _ => throw new ArgumentOutOfRangeException(nameof(depth), depth, "VGG has 11, 13, 16 or 19 layers"),
    };

    internal static Sequential Convolutions(int[] stages, CnnConfig config, bool norm, bool bias, bool poolLast, ref Rng rng,
        out int width)
    {
        var layers = new Sequential();
        width = config.Channels;
        for (int stage = 0; stage < stages.Length; stage++)
        {
            int outputs = config.Scaled(Math.Min(64 << stage, 512));
            for (int i = 0; i < stages[stage]; i++)
            {
                layers.Conv(width, outputs, 3, ref rng, bias: bias);
                if (norm) layers.BatchNorm(outputs);
                layers.Add(F.Relu);
                width = outputs;
            }
            if (poolLast || stage < stages.Length - 1) layers.Add(x => F.MaxPool2d(x, 2));
        }
        return layers;
    }
}

/// <summary>
/// VGG for small images as Network Slimming uses it: batch norm everywhere, convolutions without bias, four poolings, the mean
/// of what is left, one linear layer.
/// </summary>
public sealed class CifarVgg : Cnn
{
    private readonly Sequential feature;
    private readonly Linear classifier;

    /// <param name="depth">11, 13, 16 or 19.</param>
    public CifarVgg(int depth, CnnConfig config, ref Rng rng) : base(config)
    {
        feature = Child("feature", Vgg.Convolutions(Vgg.Stages(depth), config, norm: true, bias: false, poolLast: false, ref rng,
            out int width));
        classifier = Child("classifier", new Linear(width, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images) => classifier.Forward(F.GlobalAvgPool2d(feature.Forward(images)));
}

/// <summary>
/// The three-layer network of the RePr paper (arXiv 1811.07275): 3x3 convolutions of 32 filters with ReLU, no batch norm, no
/// pooling, one linear layer.
/// </summary>
public sealed class VanillaCnn : Cnn
{
    private readonly Sequential features;
    private readonly Linear classifier;

    public VanillaCnn(CnnConfig config, ref Rng rng) : base(config)
    {
        int width = config.Scaled(32);
        features = Child("features", new Sequential()
            .Conv(config.Channels, width, 3, ref rng, bias: true).Add(F.Relu)
            .Conv(width, width, 3, ref rng, bias: true).Add(F.Relu)
            .Conv(width, width, 3, ref rng, bias: true).Add(F.Relu));
        classifier = Child("classifier", new Linear(width * config.ImageSize * config.ImageSize, config.NumClasses, ref rng));
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images) => classifier.Forward(Flatten(features.Forward(images)));
}
