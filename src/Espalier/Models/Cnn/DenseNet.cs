using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>
/// DenseNet-121 (Huang et al., arXiv 1608.06993) with torchvision's names: every layer of a block reads all maps before it and
/// adds <c>growth</c> of its own.
/// </summary>
public sealed class DenseNet : Cnn
{
    private readonly Conv2d stem;
    private readonly BatchNorm2d stemNorm, lastNorm;
    private readonly List<Func<Tensor, Tensor>> steps = [];
    private readonly Linear classifier;

    public DenseNet(CnnConfig config, ref Rng rng) : base(config)
    {
        int[] counts = [6, 12, 24, 16];
        int growth = config.Scaled(32), width = config.Scaled(64);
        stem = Child("features.conv0", Conv(config.Channels, width, 7, ref rng, stride: 2));
        stemNorm = Child("features.norm0", new BatchNorm2d(width));
        for (int block = 0; block < counts.Length; block++)
        {
            for (int i = 0; i < counts[block]; i++, width += growth)
            {
                DenseLayer layer = Child($"features.denseblock{block + 1}.denselayer{i + 1}",
                    new DenseLayer(width, growth, ref rng));
                steps.Add(layer.Forward);
            }
            if (block == counts.Length - 1) break;
            DenseTransition transition = Child($"features.transition{block + 1}", new DenseTransition(width, width / 2, ref rng));
            steps.Add(transition.Forward);
            width /= 2;
        }
        lastNorm = Child("features.norm5", new BatchNorm2d(width));
        classifier = Child("classifier", new Linear(width, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images)
    {
        Tensor x = F.MaxPool2d(F.Relu(stemNorm.Forward(stem.Forward(images))), 3, 2, 1);
        foreach (Func<Tensor, Tensor> step in steps) x = step(x);
        return classifier.Forward(F.GlobalAvgPool2d(F.Relu(lastNorm.Forward(x))));
    }
}

/// <summary>Norm, ReLU, 1x1 to four times the growth, norm, ReLU, 3x3; the result is put beside what came in.</summary>
public sealed class DenseLayer : Module
{
    private readonly BatchNorm2d norm1, norm2;
    private readonly Conv2d conv1, conv2;

    public DenseLayer(int inputs, int growth, ref Rng rng)
    {
        norm1 = Child("norm1", new BatchNorm2d(inputs));
        conv1 = Child("conv1", Conv(inputs, 4 * growth, 1, ref rng));
        norm2 = Child("norm2", new BatchNorm2d(4 * growth));
        conv2 = Child("conv2", Conv(4 * growth, growth, 3, ref rng));
    }

    public Tensor Forward(Tensor x)
    {
        Tensor inner = conv1.Forward(F.Relu(norm1.Forward(x)));
        return F.Concat(1, x, conv2.Forward(F.Relu(norm2.Forward(inner))));
    }
}

/// <summary>Between dense blocks: norm, ReLU, 1x1, and half the size.</summary>
public sealed class DenseTransition : Module
{
    private readonly BatchNorm2d norm;
    private readonly Conv2d conv;

    public DenseTransition(int inputs, int outputs, ref Rng rng)
    {
        norm = Child("norm", new BatchNorm2d(inputs));
        conv = Child("conv", Conv(inputs, outputs, 1, ref rng));
    }

    public Tensor Forward(Tensor x) => F.AvgPool2d(conv.Forward(F.Relu(norm.Forward(x))), 2);
}
