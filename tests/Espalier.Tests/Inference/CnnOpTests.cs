using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Inference;

/// <summary>Small networks of what the presets do not have, or have in one arrangement only.</summary>
public sealed class CnnOpTests
{
    public static TheoryData<string> Cases =>
    [
        "select after norm", "few selected", "most selected", "select with other readers", "add to some", "add to most", "gated",
        "scale folds", "scale with other readers", "norm before padding", "norm before 1x1",
        "two convolutions summed", "self sum", "pad channels",
        "shuffle", "concat of slices", "same part twice", "slices that overlap", "dilated groups", "flatten after concat",
        "norm after sum", "activation between", "subtracted", "tanh",
    ];

    [Theory]
    [MemberData(nameof(Cases))]
    public void LogitsAreThoseOfTheModules(string name)
    {
        using var net = new OneOff(name);
        CnnNets.Randomise(net);
        net.ShortenLists();
        CnnNets.AssertSame(net);
    }

    /// <summary>A stem of eight channels, what the case says, and a classifier on the mean.</summary>
    private sealed class OneOff : Cnn
    {
        private readonly string name;
        private readonly Conv2d stem, conv3, conv1, other, wide, grouped;
        private readonly BatchNorm2d norm, second, narrow;
        private readonly ChannelSelect select;
        private readonly ChannelAdd add;
        private readonly Linear head, flat;
        private readonly Tensor gains;

        public OneOff(string name) : base(new CnnConfig(name) { ImageSize = 9, NumClasses = 5, Channels = 2 })
        {
            this.name = name;
            var rng = new Rng(7);
            int selected = name == "few selected" ? 3 : name == "most selected" ? 7 : 8;
            int added = name == "add to some" ? 3 : name == "add to most" ? 7 : 8;
            stem = Child("stem", new Conv2d(2, 8, 3, ref rng, padding: 1));
            norm = Child("norm", new BatchNorm2d(8));
            second = Child("second", new BatchNorm2d(8));
            narrow = Child("narrow", new BatchNorm2d(added));
            select = Child("select", new ChannelSelect(8));
            add = Child("add", new ChannelAdd(8));
            (Selected, Added) = (selected, added);
            conv3 = Child("conv3", new Conv2d(selected, added, 3, ref rng, padding: 1));
            conv1 = Child("conv1", new Conv2d(8, 8, 1, ref rng));
            other = Child("other", new Conv2d(8, 8, 3, ref rng, padding: 1, bias: false));
            wide = Child("wide", new Conv2d(16, 8, 1, ref rng));
            grouped = Child("grouped", new Conv2d(8, 12, 3, ref rng, padding: 2, dilation: 2, groups: 2));
            head = Child("head", new Linear(name is "pad channels" or "dilated groups" ? 12 : 8, 5, ref rng));
            flat = Child("flat", new Linear(name == "flatten after concat" ? 16 * 81 : 8 * 81, 5, ref rng));
            gains = Parameter("gains", new Shape(1, 8, 1, 1));
            Init.Uniform(gains, 0.5f, 1.5f, ref rng);
        }

        private int Selected { get; }

        private int Added { get; }

        /// <summary>In another order than that of the channels.</summary>
        public void ShortenLists()
        {
            Shorten(select.Index, Selected);
            Shorten(add.Index, Added);

            static void Shorten(Tensor index, int count)
            {
                using Tensor fewer = Tensor.Unscoped(new Shape(count));
                for (int k = 0; k < count; k++) fewer.Span[k] = (5 * k + 2) % 8;
                index.Exchange(fewer);
            }
        }

        public override Tensor Forward(Tensor images)
        {
            Tensor x = F.Relu(stem.Forward(images));
            if (name == "flatten after concat") return flat.Forward(CnnLayers.Flatten(F.Concat(1, x, F.Relu(conv1.Forward(x)))));
            if (name == "activation between") return flat.Forward(F.Sigmoid(F.Silu(CnnLayers.Flatten(conv1.Forward(x)))));
            return head.Forward(F.GlobalAvgPool2d(Body(x)));
        }

        private Tensor Body(Tensor x) => name switch
        {
            "select after norm" or "few selected" or "most selected" =>
                F.Add(x, conv3.Forward(F.Relu(select.Forward(norm.Forward(x))))),
            "select with other readers" => F.Add(F.Mul(norm.Forward(x), 2), select.Forward(x)),
            "add to some" or "add to most" => F.Relu(add.Forward(x, narrow.Forward(conv3.Forward(x)))),
            "gated" => F.Relu(F.Add(F.Mul(norm.Forward(conv1.Forward(x)), 0.8f), x)),
            "scale folds" => F.Silu(F.Mul(F.Mul(conv1.Forward(x), gains), 0.5f)),
            "scale with other readers" => F.Add(conv1.Forward(F.Mul(x, gains)), F.Mul(x, gains)),
            "norm before padding" => other.Forward(norm.Forward(x)),
            "norm before 1x1" => conv1.Forward(norm.Forward(x)),
            "two convolutions summed" => F.Relu(F.Add(norm.Forward(other.Forward(x)), second.Forward(conv1.Forward(x)))),
            "self sum" => F.Add(conv1.Forward(x), F.Add(x, x)),
            "pad channels" => F.Pad(F.AvgPool2d(x, 1, 2), [(0, 0), (1, 3), (0, 0), (0, 0)]),
            "shuffle" => F.Sigmoid(Shuffled(F.Concat(1, F.Slice(x, 1, 2, 4), F.Slice(conv1.Forward(x), 1, 4, 4)))),
            "concat of slices" => wide.Forward(F.Concat(1, F.Slice(x, 1, 4, 4), conv1.Forward(x), F.Slice(x, 1, 0, 4))),
            "same part twice" => wide.Forward(F.Relu(F.Concat(1, x, x))),
            "slices that overlap" => wide.Forward(F.Concat(1, F.Slice(x, 1, 0, 6), F.Slice(x, 1, 2, 6), F.Slice(x, 1, 3, 4))),
            "dilated groups" => F.Relu(grouped.Forward(x)),
            "norm after sum" => F.Relu(norm.Forward(F.Add(other.Forward(x), x))),
            "subtracted" => F.Relu(F.Sub(conv1.Forward(x), gains)),
            "tanh" => F.Tanh(x),
            _ => throw new ArgumentException(name),
        };

        private static Tensor Shuffled(Tensor x)
        {
            Tensor split = F.Reshape(x, new Shape(x.Shape[0], 2, 4, 9, 9));
            return F.Reshape(F.Permute(split, 0, 2, 1, 3, 4), new Shape(x.Shape[0], 8, 9, 9));
        }
    }
}
