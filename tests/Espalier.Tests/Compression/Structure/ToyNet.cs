using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Structure;

/// <summary>
/// A small network with everything that structural pruning has to see through: a residual stream, a depthwise convolution,
/// squeeze-and-excitation, a concat, a grouped convolution, a channel shuffle, a split, and flattening before a linear layer.
/// [N, 3, 6, 6] -> [N, 5]; weights, and the batch norms' statistics, are random.
/// </summary>
internal sealed class ToyNet : Module
{
    private readonly Conv2d stem, conv1, conv2, depthwise, point, side, down, up, grouped, branch;
    private readonly BatchNorm2d stemNorm, norm1, norm2, depthwiseNorm, groupedNorm;
    private readonly Linear hidden, head;

    /// <param name="kernel">3, with zero padding, or 1, where maps have no borders.</param>
    public ToyNet(ulong seed, int kernel = 3)
    {
        var rng = new Rng(seed);
        int pad = kernel / 2;
        stem = Child("stem.conv", new Conv2d(3, 8, kernel, ref rng, padding: pad, bias: false));
        stemNorm = Child("stem.bn", new BatchNorm2d(8));
        conv1 = Child("block.conv1", new Conv2d(8, 6, kernel, ref rng, padding: pad, bias: false));
        norm1 = Child("block.bn1", new BatchNorm2d(6));
        conv2 = Child("block.conv2", new Conv2d(6, 8, kernel, ref rng, padding: pad, bias: false));
        norm2 = Child("block.bn2", new BatchNorm2d(8));
        depthwise = Child("dw.conv", new Conv2d(8, 8, kernel, ref rng, padding: pad, groups: 8, bias: false));
        depthwiseNorm = Child("dw.bn", new BatchNorm2d(8));
        point = Child("point", new Conv2d(8, 7, 1, ref rng));
        side = Child("side", new Conv2d(8, 5, 1, ref rng));
        down = Child("se.down", new Conv2d(12, 4, 1, ref rng));
        up = Child("se.up", new Conv2d(4, 12, 1, ref rng));
        grouped = Child("grouped.conv", new Conv2d(12, 8, kernel, ref rng, padding: pad, groups: 2, bias: false));
        groupedNorm = Child("grouped.bn", new BatchNorm2d(8));
        branch = Child("branch", new Conv2d(4, 6, kernel, ref rng, padding: pad));
        hidden = Child("hidden", new Linear(10 * 9, 9, ref rng));
        head = Child("head", new Linear(9, 5, ref rng));
        foreach (var (name, t) in StateDict())
        {
            if (name.EndsWith("running_var") || name.EndsWith("bn.weight")) Init.Uniform(t, 0.5f, 1.5f, ref rng);
            else if (t.Rank == 1) Init.Uniform(t, -0.5f, 0.5f, ref rng);
        }
    }

    public Tensor Forward(Tensor x)
    {
        x = F.Relu(stemNorm.Forward(stem.Forward(x)));
        Tensor y = F.Relu(norm1.Forward(conv1.Forward(x)));
        x = F.Relu(F.Add(x, norm2.Forward(conv2.Forward(y))));
        y = F.Relu(depthwiseNorm.Forward(depthwise.Forward(x)));
        x = F.Concat(1, F.Relu(point.Forward(y)), F.Relu(side.Forward(x)));
        Tensor gate = F.Reshape(F.GlobalAvgPool2d(x), x.Shape[0], x.Shape[1], 1, 1);
        x = F.Mul(x, F.Sigmoid(up.Forward(F.Relu(down.Forward(gate)))));
        x = Shuffle(F.Relu(groupedNorm.Forward(grouped.Forward(x))), 2);
        int half = x.Shape[1] / 2;
        x = F.Concat(1, F.Slice(x, 1, 0, half), F.Relu(branch.Forward(F.Slice(x, 1, half, half))));
        x = F.MaxPool2d(x, 2);
        return head.Forward(F.Relu(hidden.Forward(F.Reshape(x, x.Shape[0], -1))));
    }

    private static Tensor Shuffle(Tensor x, int groups)
    {
        int n = x.Shape[0], c = x.Shape[1], h = x.Shape[2], w = x.Shape[3];
        Tensor split = F.Reshape(x, n, groups, c / groups, h, w);
        return F.Reshape(F.Permute(split, 0, 2, 1, 3, 4), n, c, h, w);
    }

    public static Tensor Images(ulong seed, int count)
    {
        var rng = new Rng(seed);
        Tensor x = Tensor.Unscoped(new Shape(count, 3, 6, 6));
        Init.Normal(x, 1, ref rng);
        return x;
    }
}
