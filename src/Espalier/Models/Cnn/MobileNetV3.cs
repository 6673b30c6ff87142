using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>MobileNetV3 (Howard et al., arXiv 1905.02244), small and large, with torchvision's names.</summary>
public sealed class MobileNetV3 : Cnn
{
    private const int Divisor = 8;
    private const float Epsilon = 1e-3f, Momentum = 0.01f;

    // Kernel, channels inside, channels after, squeeze and excitation, hard swish in the place of ReLU, stride (tables 1 and 2).
    private static readonly (int Kernel, int Hidden, int Channels, bool Squeeze, bool Swish, int Stride)[] Large =
    [
        (3, 16, 16, false, false, 1), (3, 64, 24, false, false, 2), (3, 72, 24, false, false, 1), (5, 72, 40, true, false, 2),
        (5, 120, 40, true, false, 1), (5, 120, 40, true, false, 1), (3, 240, 80, false, true, 2), (3, 200, 80, false, true, 1),
        (3, 184, 80, false, true, 1), (3, 184, 80, false, true, 1), (3, 480, 112, true, true, 1), (3, 672, 112, true, true, 1),
        (5, 672, 160, true, true, 2), (5, 960, 160, true, true, 1), (5, 960, 160, true, true, 1),
    ], Small =
    [
        (3, 16, 16, true, false, 2), (3, 72, 24, false, false, 2), (3, 88, 24, false, false, 1), (5, 96, 40, true, true, 2),
        (5, 240, 40, true, true, 1), (5, 240, 40, true, true, 1), (5, 120, 48, true, true, 1), (5, 144, 48, true, true, 1),
        (5, 288, 96, true, true, 2), (5, 576, 96, true, true, 1), (5, 576, 96, true, true, 1),
    ];

    private readonly Sequential features = new();
    private readonly Sequential classifier;

    public MobileNetV3(bool large, CnnConfig config, ref Rng rng) : base(config)
    {
        int width = config.Scaled(16);
        features.Layer(config.Channels, width, 3, ref rng, HardSwish, stride: 2, epsilon: Epsilon, momentum: Momentum);
        foreach (var (kernel, inside, channels, squeeze, swish, stride) in large ? Large : Small)
        {
            int hidden = config.Scaled(inside), outputs = config.Scaled(channels);
            SqueezeExcitation? excitation = squeeze
                ? new SqueezeExcitation(hidden, Divisible(hidden / 4, Divisor), ref rng, F.Relu, HardSigmoid) : null;
            var block = new MbConv(width, hidden, outputs, kernel, stride, swish ? HardSwish : F.Relu, excitation, ref rng,
                Epsilon, Momentum);
            features.Add(block, block.Forward);
            width = outputs;
        }
        int top = 6 * width, last = config.Scaled(large ? 1280 : 1024);
        Child("features", features.Layer(width, top, 1, ref rng, HardSwish, epsilon: Epsilon, momentum: Momentum));
        classifier = Child("classifier", new Sequential().Linear(top, last, ref rng).Add(HardSwish).Dropout(0.2f)
            .Linear(last, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images) => classifier.Forward(F.GlobalAvgPool2d(features.Forward(images)));

    private static Tensor HardSwish(Tensor x) => F.Element(x, ElementFunction.HardSwish);

    private static Tensor HardSigmoid(Tensor x) => F.Element(x, ElementFunction.HardSigmoid, 1 / 6f, 0.5f);
}
