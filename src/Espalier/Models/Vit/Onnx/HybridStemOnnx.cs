using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Models.Onnx;

/// <summary>
/// Writes a <see cref="HybridStem"/> into a graph, its weights standardised beforehand. Group norm has no operator in opset
/// 17: it is an instance norm over [N, groups, values of a group].
/// </summary>
/// <param name="prefix">Of the names of its weights.</param>
internal sealed class HybridStemOnnx(OnnxGraph graph, OnnxWeights weights, VitConfig config, string prefix)
{
    private readonly bool google = config.Stem == VitStem.ResNet50;

    /// <summary>Rows, and columns, of what was written last.</summary>
    private int size = config.ImageSize;

    /// <summary>images [N, C, S, S] -> [N, 1024, S/16, S/16].</summary>
    public string Add(string images)
    {
        string x = Relu("root", Norm("root.gn", Convolution("root.conv", images, 2, 3), HybridStem.Groups));
        x = Pool("root.pool", x);
        for (int stage = 0; stage < HybridStem.Depths.Count; stage++)
        {
            for (int unit = 0; unit < HybridStem.Depths[stage]; unit++)
                x = Unit($"body.block{stage + 1}.unit{unit + 1}", x, stride: unit == 0 && stage > 0 ? 2 : 1);
        }
        return x;
    }

    /// <summary>See <see cref="HybridStemUnit"/>.</summary>
    private string Unit(string name, string x, int stride)
    {
        int before = size;
        string y = Relu(name + ".relu1", Norm(name + ".gn1", Convolution(name + ".conv1", x, 1, 0), HybridStem.Groups));
        y = Relu(name + ".relu2", Norm(name + ".gn2", Convolution(name + ".conv2", y, stride, 1), HybridStem.Groups));
        y = Norm(name + ".gn3", Convolution(name + ".conv3", y, 1, 0), HybridStem.Groups);
        string shortcut = x;
        if (weights.Has(prefix + name + ".downsample.weight"))
        {
            size = before;
            shortcut = Convolution(name + ".downsample", x, stride, 0);
            int channels = weights[prefix + name + ".downsample.weight"].Shape[0];
            shortcut = google ? Norm(name + ".gn_proj", shortcut, HybridStem.Groups)
                : Norm(name + ".gn_proj", shortcut, channels, 1e-5f);
        }
        return Relu(name, graph.Node("Add", prefix + name + ".sum", [shortcut, y]));
    }

    private string Convolution(string name, string x, int stride, int padding)
    {
        Tensor raw = weights[prefix + name + ".weight"];
        int kernel = raw.Shape[2];
        Tensor w = F.WeightStandardise(raw, google ? WeightStandardisation.Google : WeightStandardisation.Jeonsworld);
        return graph.Node("Conv", prefix + name, [x, graph.Constant(OnnxTensor.Of(prefix + name + ".standardised", w))],
            OnnxAttribute.Ints("kernel_shape", kernel, kernel), OnnxAttribute.Ints("strides", stride, stride),
            Pads(kernel, stride, google ? Padding.Same(size, size, kernel, kernel, stride) : padding));
    }

    private string Pool(string name, string x) => graph.Node("MaxPool", prefix + name, [x],
        OnnxAttribute.Ints("kernel_shape", 3, 3), OnnxAttribute.Ints("strides", 2, 2),
        Pads(3, 2, google ? Padding.Same(size, size, 3, 3, 2) : 0));

    /// <summary>The attribute, and what is left of the size behind the window.</summary>
    private OnnxAttribute Pads(int kernel, int stride, Padding pads)
    {
        size = (size + pads.Top + pads.Bottom - kernel) / stride + 1;
        return OnnxAttribute.Ints("pads", pads.Top, pads.Left, pads.Bottom, pads.Right);
    }

    private string Norm(string name, string x, int groups, float epsilon = 1e-6f)
    {
        name = prefix + name;
        Tensor weight = weights[name + ".weight"];
        long channels = weight.Length;
        string grouped = graph.Node("Reshape", name + ".groups", [x, graph.Integers($"shape.groups{groups}", 0, groups, -1)]);
        string even = graph.Node("InstanceNormalization", name + ".even",
            [grouped, Filled($"ones.{groups}", groups, 1), Filled($"zeros.{groups}", groups, 0)],
            OnnxAttribute.Float("epsilon", epsilon));
        string back = graph.Node("Reshape", name + ".back",
            [even, graph.Integers($"shape.{channels}x{size}", 0, channels, size, size)]);
        string scaled = graph.Node("Mul", name + ".scaled", [back, PerChannel(name + ".weight")]);
        return graph.Node("Add", name, [scaled, PerChannel(name + ".bias")]);
    }

    private string Filled(string name, int count, float value) =>
        graph.Floats(name, [count], [.. Enumerable.Repeat(value, count)]);

    private string PerChannel(string name) => graph.Floats(name, [weights[name].Length, 1, 1], weights[name].ToArray());

    private string Relu(string name, string x) => graph.Node("Relu", prefix + name + ".relu", [x]);
}
