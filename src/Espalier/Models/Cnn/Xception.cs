using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>
/// Xception (Chollet, arXiv 1610.02357), with the names of the PyTorch port whose weights are in use: depthwise separable
/// convolutions in twelve residual blocks.
/// </summary>
public sealed class Xception : Cnn
{
    private readonly Conv2d conv1, conv2;
    private readonly BatchNorm2d bn1, bn2, bn3, bn4;
    private readonly XceptionBlock[] blocks;
    private readonly SeparableConv2d conv3, conv4;
    private readonly Linear classifier;

    public Xception(CnnConfig config, ref Rng rng) : base(config)
    {
        int C(int channels) => config.Scaled(channels);
        conv1 = Child("conv1", new Conv2d(config.Channels, C(32), 3, ref rng, stride: 2, bias: false));
        bn1 = Child("bn1", new BatchNorm2d(C(32)));
        conv2 = Child("conv2", new Conv2d(C(32), C(64), 3, ref rng, bias: false));
        bn2 = Child("bn2", new BatchNorm2d(C(64)));
        var all = new List<XceptionBlock>
        {
            new(C(64), C(128), 2, stride: 2, startWithRelu: false, growFirst: true, ref rng),
            new(C(128), C(256), 2, stride: 2, startWithRelu: true, growFirst: true, ref rng),
            new(C(256), C(728), 2, stride: 2, startWithRelu: true, growFirst: true, ref rng),
        };
        for (int i = 0; i < 8; i++) all.Add(new XceptionBlock(C(728), C(728), 3, 1, startWithRelu: true, growFirst: true, ref rng));
        all.Add(new XceptionBlock(C(728), C(1024), 2, stride: 2, startWithRelu: true, growFirst: false, ref rng));
        for (int i = 0; i < all.Count; i++) Child($"block{i + 1}", all[i]);
        blocks = [.. all];
        conv3 = Child("conv3", new SeparableConv2d(C(1024), C(1536), ref rng));
        bn3 = Child("bn3", new BatchNorm2d(C(1536)));
        conv4 = Child("conv4", new SeparableConv2d(C(1536), C(2048), ref rng));
        bn4 = Child("bn4", new BatchNorm2d(C(2048)));
        classifier = Child("fc", new Linear(C(2048), config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images)
    {
        Tensor x = F.Relu(bn1.Forward(conv1.Forward(images)));
        x = F.Relu(bn2.Forward(conv2.Forward(x)));
        foreach (XceptionBlock block in blocks) x = block.Forward(x);
        x = F.Relu(bn3.Forward(conv3.Forward(x)));
        x = F.Relu(bn4.Forward(conv4.Forward(x)));
        return classifier.Forward(F.GlobalAvgPool2d(x));
    }
}

/// <summary>A depthwise 3x3 and a pointwise convolution, both without bias.</summary>
public sealed class SeparableConv2d : Module
{
    private readonly Conv2d depthwise, pointwise;

    public SeparableConv2d(int inputs, int outputs, ref Rng rng)
    {
        depthwise = Child("conv1", Conv(inputs, inputs, 3, ref rng, groups: inputs));
        pointwise = Child("pointwise", Conv(inputs, outputs, 1, ref rng));
    }

    public Tensor Forward(Tensor x) => pointwise.Forward(depthwise.Forward(x));
}

/// <summary>Separable convolutions beside an identity, or beside a strided 1x1 convolution where the shape changes.</summary>
public sealed class XceptionBlock : ResidualBlock
{
    private readonly Sequential rep = new();
    private readonly Conv2d? skip;
    private readonly BatchNorm2d? skipNorm;

    /// <param name="count">Separable convolutions.</param>
    /// <param name="growFirst">Whether the first of them changes the width; else the last.</param>
    public XceptionBlock(int inputs, int outputs, int count, int stride, bool startWithRelu, bool growFirst, ref Rng rng)
    {
        for (int i = 0, width = inputs; i < count; i++)
        {
            int next = growFirst || i == count - 1 ? outputs : inputs;
            if (i > 0 || startWithRelu) rep.Add(F.Relu);
            var conv = new SeparableConv2d(width, next, ref rng);
            rep.Add(conv, conv.Forward).BatchNorm(next);
            width = next;
        }
        if (stride != 1) rep.Add(x => F.MaxPool2d(x, 3, stride, 1));
        Child("rep", rep);
        if (stride == 1 && inputs == outputs) return;
        skip = Child("skip", Conv(inputs, outputs, 1, ref rng, stride));
        skipNorm = Child("skipbn", new BatchNorm2d(outputs));
    }

    /// <inheritdoc/>
    public override bool HasIdentityShortcut => skip is null;

    /// <inheritdoc/>
    public override Tensor Branch(Tensor x) => rep.Forward(x);

    /// <inheritdoc/>
    public override Tensor Shortcut(Tensor x) => skip is null ? x : skipNorm!.Forward(skip.Forward(x));

    /// <inheritdoc/>
    protected override Tensor Activate(Tensor sum) => sum;
}
