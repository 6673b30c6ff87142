using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// CLIP's modified ResNet: a stem of three convolutions, average pools in the place of strides, and attention in the place of the
/// last pool. [B, 3, S, S] -> features [B, embedding], not normalised.
/// </summary>
public sealed class ClipResNet : ImageClassifier
{
    private readonly ClipConfig config;
    private readonly Conv2d[] stem = new Conv2d[3];
    private readonly BatchNorm2d[] norms = new BatchNorm2d[3];
    private readonly List<ClipBottleneck> blocks = [];
    private readonly ClipAttentionPool pool;

    public ClipResNet(ClipConfig config, ulong seed = 42)
    {
        this.config = config.Checked("CLIP");
        var rng = new Rng(seed, key0: 7);
        int width = config.ImageWidth;
        (int From, int To)[] widths = [(3, width / 2), (width / 2, width / 2), (width / 2, width)];
        for (int i = 0; i < 3; i++)
        {
            stem[i] = Child($"visual.conv{i + 1}",
                new Conv2d(widths[i].From, widths[i].To, 3, ref rng, stride: i == 0 ? 2 : 1, padding: 1, bias: false));
            norms[i] = Child($"visual.bn{i + 1}", new BatchNorm2d(widths[i].To));
        }
        int channels = width;
        for (int stage = 0; stage < 4; stage++)
        {
            int planes = width << stage;
            for (int j = 0; j < config.ImageLayers[stage]; j++, channels = 4 * planes)
            {
                int stride = stage > 0 && j == 0 ? 2 : 1;
                blocks.Add(Child($"visual.layer{stage + 1}.{j}", new ClipBottleneck(channels, planes, stride, ref rng)));
            }
        }
        pool = Child("visual.attnpool", new ClipAttentionPool(config.Grid, channels, config.ImageHeads, config.Embedding,
            ref rng));
    }

    /// <inheritdoc/>
    public override string Description => config.Description;

    /// <inheritdoc/>
    public override int Channels => 3;

    /// <inheritdoc/>
    public override int ImageSize => config.ImageSize;

    /// <summary>Width of the features.</summary>
    public override int NumClasses => config.Embedding;

    /// <inheritdoc cref="ClipResNet"/>
    public override Tensor Forward(Tensor images)
    {
        Tensor x = images;
        for (int i = 0; i < 3; i++) x = F.Relu(norms[i].Forward(stem[i].Forward(x)));
        x = F.AvgPool2d(x, 2, 2);
        foreach (ClipBottleneck block in blocks) x = block.Forward(x);
        return pool.Forward(x);
    }
}

/// <summary>1x1, 3x3 and 1x1 convolutions; where it strides, an average pool stands in front of the last one and of the
/// shortcut.</summary>
public sealed class ClipBottleneck : Module
{
    private readonly Conv2d conv1, conv2, conv3;
    private readonly BatchNorm2d bn1, bn2, bn3;
    private readonly Conv2d? shortcut;
    private readonly BatchNorm2d? shortcutNorm;
    private readonly int stride;

    public ClipBottleneck(int inputs, int planes, int stride, ref Rng rng)
    {
        this.stride = stride;
        conv1 = Child("conv1", new Conv2d(inputs, planes, 1, ref rng, bias: false));
        bn1 = Child("bn1", new BatchNorm2d(planes));
        conv2 = Child("conv2", new Conv2d(planes, planes, 3, ref rng, padding: 1, bias: false));
        bn2 = Child("bn2", new BatchNorm2d(planes));
        conv3 = Child("conv3", new Conv2d(planes, 4 * planes, 1, ref rng, bias: false));
        bn3 = Child("bn3", new BatchNorm2d(4 * planes));
        if (stride == 1 && inputs == 4 * planes) return;
        shortcut = Child("downsample.0", new Conv2d(inputs, 4 * planes, 1, ref rng, bias: false));
        shortcutNorm = Child("downsample.1", new BatchNorm2d(4 * planes));
    }

    public Tensor Forward(Tensor x)
    {
        Tensor y = F.Relu(bn1.Forward(conv1.Forward(x)));
        y = Pooled(F.Relu(bn2.Forward(conv2.Forward(y))));
        y = bn3.Forward(conv3.Forward(y));
        Tensor straight = shortcut is null ? x : shortcutNorm!.Forward(shortcut.Forward(Pooled(x)));
        return F.Relu(y + straight);
    }

    private Tensor Pooled(Tensor x) => stride == 1 ? x : F.AvgPool2d(x, stride, stride);
}

/// <summary>Attention of the mean of all places over that mean and all places: map [B, C, s, s] -> [B, embedding].</summary>
public sealed class ClipAttentionPool : Module
{
    private readonly Tensor positions;
    private readonly Linear query, key, value, output;
    private readonly HeadLayout heads;
    private readonly float scale;

    public ClipAttentionPool(int grid, int channels, int count, int embedding, ref Rng rng)
    {
        positions = Parameter("positional_embedding", new Shape(grid * grid + 1, channels));
        query = Child("q_proj", new Linear(channels, channels, ref rng));
        key = Child("k_proj", new Linear(channels, channels, ref rng));
        value = Child("v_proj", new Linear(channels, channels, ref rng));
        output = Child("c_proj", new Linear(channels, embedding, ref rng));
        heads = HeadLayout.Uniform(count, channels / count);
        scale = 1 / MathF.Sqrt(channels / count);
        Init.Normal(positions, MathF.Pow(channels, -0.5f), ref rng);
    }

    public Tensor Forward(Tensor map)
    {
        Tensor places = F.Permute(F.Flatten(map, 2), 0, 2, 1);                                   // [B, s s, C]
        Tensor all = F.Concat(1, F.Mean(places, [1], keepDims: true), places) + positions;      // [B, s s + 1, C]
        Tensor mean = F.Slice(all, 1, 0, 1);                                                    // [B, 1, C]
        Tensor pooled = F.Attention(query.Forward(mean), key.Forward(all), value.Forward(all), heads, scale);
        return output.Forward(F.Flatten(pooled));
    }
}
