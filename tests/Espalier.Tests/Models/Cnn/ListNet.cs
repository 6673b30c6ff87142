using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Models;

/// <summary>A residual block that reads some channels of its stream and adds to some: with lists of channels, once pruned.</summary>
internal sealed class ListNet : Cnn
{
    public const string Name = "list-net";

    private readonly Conv2d stem, first, second;
    private readonly BatchNorm2d norm, branchNorm;
    private readonly ChannelSelect select;
    private readonly ChannelAdd add;
    private readonly Linear head;

    private ListNet(ref Rng rng) : base(new CnnConfig(Name) { ImageSize = 12, Channels = 1, NumClasses = 10 })
    {
        stem = Child("stem", new Conv2d(1, 10, 3, ref rng, padding: 1));
        norm = Child("norm", new BatchNorm2d(10));
        select = Child("select", new ChannelSelect(10));
        first = Child("first", new Conv2d(10, 12, 3, ref rng, padding: 1));
        second = Child("second", new Conv2d(12, 10, 1, ref rng, bias: false));
        branchNorm = Child("branch_norm", new BatchNorm2d(10));
        add = Child("add", new ChannelAdd(10));
        head = Child("head", new Linear(10, 10, ref rng));
    }

    public static ListNet Create()
    {
        var rng = new Rng(2);
        var net = new ListNet(ref rng);
        foreach (BatchNorm2d each in new[] { net.norm, net.branchNorm })
        {
            Init.Uniform(each.Weight, 0.5f, 1.5f, ref rng);
            Init.Uniform(each.Bias, -1, 1, ref rng);
            Init.Uniform(each.RunningMean, -1, 1, ref rng);
            Init.Uniform(each.RunningVariance, 0.5f, 1.5f, ref rng);
        }
        return net;
    }

    public override Tensor Forward(Tensor images)
    {
        Tensor x = stem.Forward(images);
        Tensor y = first.Forward(F.Relu(select.Forward(norm.Forward(x))));
        x = add.Forward(x, branchNorm.Forward(second.Forward(F.Relu(y))));
        return head.Forward(F.GlobalAvgPool2d(x));
    }
}
