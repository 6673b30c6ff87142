using Espalier.Compression;
using Espalier.Compression.Methods.LowRank;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

/// <summary>The convolutional network of tests/goldens/make_low_rank.py: one of stride 2 and one in two groups between
/// others.</summary>
internal sealed class SplitNet : ImageClassifier
{
    private readonly Tensor conv1, conv2, bias, conv3, head, headBias;
    private int next;

    public SplitNet() => (conv1, conv2, bias, conv3, head, headBias) = (Weight("conv1.weight", 8, 1, 3, 3),
        Weight("conv2.weight", 12, 8, 3, 3),
        Weight("conv2.bias", 12), Weight("conv3.weight", 12, 6, 3, 3), Weight("head.weight", 10, 12), Weight("head.bias", 10));

    public override string Description => "small";

    public override int Channels => 1;

    public override int ImageSize => 8;

    public override int NumClasses => 10;

    public override Tensor Forward(Tensor images)
    {
        Tensor x = F.Relu(F.Conv2d(images, conv1, null, 1, 1));
        x = F.Relu(F.Conv2d(x, conv2, bias, 2, 1));
        x = F.Relu(F.Conv2d(x, conv3, null, 1, 1, groups: 2));
        return F.Linear(F.GlobalAvgPool2d(x), head, headBias);
    }

    /// <summary>The only layer of a graph that could be split, of random weights and behind one that makes its channels of images
    /// of one channel.</summary>
    public static (Graph Graph, SplitLayer Layer) One(Shape weight, int size, SplitForm form = SplitForm.Spatial, int stride = 1,
        int groups = 1)
    {
        var rng = new Rng(7);
        Tensor before = Random(weight[1] * groups, 1, 1, 1), w = Random(weight.ToArray()), b = Random(weight[0]);
        Graph graph = Graph.Trace(x => F.Relu(F.Conv2d(F.Conv2d(x, before), w, b, stride, weight[2] / 2, groups: groups)),
            new Shape(2, 1, size, size), [("first.weight", before), ("layer.weight", w), ("layer.bias", b)]);
        return (graph, SplitLayer.Find(graph, form, new SelectionOptions { MinKept = 1 }).Single(l => l.Name == "layer"));

        Tensor Random(params int[] shape)
        {
            Tensor t = Tensor.Unscoped(new Shape(shape));
            foreach (ref float x in t.Span) x = rng.NextFloat(-1, 1);
            return t;
        }
    }

    /// <summary>A linear layer between two others.</summary>
    public static (Graph Graph, SplitLayer Layer) Linear(int inputs, int outputs, Action<Span<float>> fill)
    {
        Tensor before = Tensor.Unscoped(new Shape(inputs, 1)), w = Tensor.Unscoped(new Shape(outputs, inputs));
        before.Fill(1);
        w.Fill(0);
        fill(w.Span);
        Graph graph = Graph.Trace(x => F.Relu(F.Linear(F.Linear(F.GlobalAvgPool2d(x), before), w)), new Shape(2, 1, 4, 4),
            [("first.weight", before), ("layer.weight", w)]);
        return (graph, SplitLayer.Find(graph, SplitForm.Channel, new SelectionOptions { MinKept = 1 })
            .Single(l => l.Name == "layer"));
    }

    private Tensor Weight(string name, params int[] shape)
    {
        Tensor t = Parameter(name, new Shape(shape));
        for (int i = 0; i < t.Length; i++) t.Span[i] = (float)(0.3 * Math.Sin(0.9 * Math.Pow(i, 1.3) + next));
        next++;
        return t;
    }
}
