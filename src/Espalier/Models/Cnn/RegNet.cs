using Espalier.Nn;
using Espalier.Tensors;
using static Espalier.Models.CnnLayers;

namespace Espalier.Models;

/// <summary>
/// RegNet (Radosavovic et al., arXiv 2003.13678) with torchvision's names: residual bottlenecks with grouped convolutions, whose
/// widths follow a rule of four numbers; those called Y have squeeze and excitation.
/// </summary>
public sealed class RegNet : Cnn
{
    private const int Divisor = 8;

    private readonly Sequential stem;
    private readonly RegNetBlock[] blocks;
    private readonly Linear classifier;

    /// <param name="depth">Blocks in all.</param>
    /// <param name="first">Width of the first block before it is rounded.</param>
    /// <param name="slope">What each block is wider than the one before.</param>
    /// <param name="step">Ratio of the widths of neighbouring stages.</param>
    /// <param name="groupWidth">Channels a group.</param>
    public RegNet(int depth, int first, double slope, double step, int groupWidth, bool squeeze, CnnConfig config, ref Rng rng)
        : base(config)
    {
        int width = config.Scaled(32), stage = 0, place = 0, before = 0;
        stem = Child("stem", new Sequential().Conv(config.Channels, width, 3, ref rng, stride: 2).BatchNorm(width).Add(F.Relu));
        var all = new List<RegNetBlock>();
        foreach (int published in Widths(depth, first, slope, step))
        {
            bool begins = published != before;
            (stage, place, before) = begins ? (stage + 1, 0, published) : (stage, place + 1, before);
            int scaled = config.Scaled(published), group = Math.Min(groupWidth, scaled), outputs = Divisible(scaled, group);
            int squeezed = squeeze ? Math.Max(1, (int)Math.Round(0.25 * width)) : 0;
            all.Add(Child($"trunk_output.block{stage}.block{stage}-{place}",
                new RegNetBlock(width, outputs, begins ? 2 : 1, outputs / group, squeezed, ref rng)));
            width = outputs;
        }
        blocks = [.. all];
        classifier = Child("fc", new Linear(width, config.NumClasses, ref rng));
        InitConvolutions(this, ref rng);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor images)
    {
        Tensor x = stem.Forward(images);
        foreach (RegNetBlock block in blocks) x = block.Forward(x);
        return classifier.Forward(F.GlobalAvgPool2d(x));
    }

    /// <summary>Of each block: a line, rounded to powers of the step times the first width, and those to multiples of 8
    /// (equations 2 to 4).</summary>
    private static IEnumerable<int> Widths(int depth, int first, double slope, double step)
    {
        for (int i = 0; i < depth; i++)
        {
            double power = Math.Round(Math.Log((first + i * slope) / first) / Math.Log(step));
            yield return Divisor * (int)Math.Round(first * Math.Pow(step, power) / Divisor);
        }
    }
}

/// <summary>1x1, grouped 3x3 (which has the stride), squeeze and excitation in some, 1x1; a strided 1x1 convolution on the
/// shortcut where the shape changes.</summary>
public sealed class RegNetBlock : ResidualBlock
{
    private readonly Sequential? projection;
    private readonly Sequential reduce, grouped, expand;
    private readonly SqueezeExcitation? excitation;

    /// <param name="squeezed">Channels of the squeeze; 0 for none.</param>
    public RegNetBlock(int inputs, int outputs, int stride, int groups, int squeezed, ref Rng rng)
    {
        if (stride != 1 || inputs != outputs)
            projection = Child("proj", new Sequential().Conv(inputs, outputs, 1, ref rng, stride).BatchNorm(outputs));
        reduce = Child("f.a", new Sequential().Conv(inputs, outputs, 1, ref rng).BatchNorm(outputs).Add(F.Relu));
        grouped = Child("f.b",
            new Sequential().Conv(outputs, outputs, 3, ref rng, stride, groups).BatchNorm(outputs).Add(F.Relu));
        if (squeezed > 0) excitation = Child("f.se", new SqueezeExcitation(outputs, squeezed, ref rng, F.Relu, F.Sigmoid));
        expand = Child("f.c", new Sequential().Conv(outputs, outputs, 1, ref rng).BatchNorm(outputs));
    }

    /// <inheritdoc/>
    public override bool HasIdentityShortcut => projection is null;

    /// <inheritdoc/>
    public override Tensor Branch(Tensor x)
    {
        x = grouped.Forward(reduce.Forward(x));
        return expand.Forward(excitation?.Forward(x) ?? x);
    }

    /// <inheritdoc/>
    public override Tensor Shortcut(Tensor x) => projection?.Forward(x) ?? x;
}
