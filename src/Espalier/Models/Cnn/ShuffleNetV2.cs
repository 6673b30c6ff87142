using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>ShuffleNetV2 x1.0 (Ma et al., arXiv 1807.11164) with torchvision's names.</summary>
public sealed class ShuffleNetV2 : Cnn
{
    private readonly Sequential stem, top;
    private readonly ShuffleUnit[] units;
    private readonly Linear classifier;

    public ShuffleNetV2(CnnConfig config, ref Rng rng) : base(config)
    {
        int width = config.Scaled(24), last = config.Scaled(1024);
        int[] counts = [4, 8, 4], channels = [116, 232, 464];
        stem = Child("conv1", new Sequential().Conv(config.Channels, width, 3, ref rng, stride: 2).BatchNorm(width).Add(F.Relu));
        var all = new List<ShuffleUnit>();
        for (int stage = 0; stage < 3; stage++)
        {
            int outputs = 2 * config.Scaled(channels[stage] / 2);
            for (int i = 0; i < counts[stage]; i++)
            {
                all.Add(Child($"stage{stage + 2}.{i}", new ShuffleUnit(width, outputs, i == 0 ? 2 : 1, ref rng)));
                width = outputs;
            }
        }
        units = [.. all];
        top = Child("conv5", new Sequential().Conv(width, last, 1, ref rng).BatchNorm(last).Add(F.Relu));
        classifier = Child("fc", new Linear(last, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images)
    {
        Tensor x = F.MaxPool2d(stem.Forward(images), 3, 2, 1);
        foreach (ShuffleUnit unit in units) x = unit.Forward(x);
        return classifier.Forward(F.GlobalAvgPool2d(top.Forward(x)));
    }
}

/// <summary>
/// Half of the channels pass through a branch, the others go on as they are; then the two halves are interleaved. With stride 2
/// both halves are made of all channels, and neither passes unchanged.
/// </summary>
public sealed class ShuffleUnit : Module
{
    private readonly Sequential? first;
    private readonly Sequential second;

    public ShuffleUnit(int inputs, int outputs, int stride, ref Rng rng)
    {
        int half = outputs / 2, entering = stride == 1 ? half : inputs;
        if (stride != 1)
        {
            first = Child("branch1", new Sequential().Conv(inputs, inputs, 3, ref rng, stride, groups: inputs).BatchNorm(inputs)
                .Conv(inputs, half, 1, ref rng).BatchNorm(half).Add(F.Relu));
        }
        second = Child("branch2", new Sequential().Conv(entering, half, 1, ref rng).BatchNorm(half).Add(F.Relu)
            .Conv(half, half, 3, ref rng, stride, groups: half).BatchNorm(half)
            .Conv(half, half, 1, ref rng).BatchNorm(half).Add(F.Relu));
    }

    public Tensor Forward(Tensor x)
    {
        if (first is not null) return Shuffle(first.Forward(x), second.Forward(x));
        int half = x.Shape[1] / 2;
        return Shuffle(F.Slice(x, 1, 0, half), second.Forward(F.Slice(x, 1, half, half)));
    }

    /// <summary>Channels a0 a1 .. and b0 b1 .. -> a0 b0 a1 b1 ..</summary>
    private static Tensor Shuffle(Tensor a, Tensor b)
    {
        (int n, int half, int h, int w) = (a.Shape[0], a.Shape[1], a.Shape[2], a.Shape[3]);
        Tensor both = F.Reshape(F.Concat(1, a, b), new Shape(n, 2, half, h, w));
        return F.Reshape(F.Permute(both, 0, 2, 1, 3, 4), new Shape(n, 2 * half, h, w));
    }
}
