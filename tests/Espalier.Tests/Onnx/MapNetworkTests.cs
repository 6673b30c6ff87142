using Espalier.Compression;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Tests.Imaging;
using Espalier.Training;

namespace Espalier.Tests.Onnx;

/// <summary>Networks whose output is a map, or that have several outputs: all that needs no labels works.</summary>
public sealed class MapNetworkTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>What the second output gives stays, as what the first gives does; what both are made of may go.</summary>
    [Fact]
    public void Every_output_is_as_long_whatever_is_removed()
    {
        using var scope = new Scope();
        Tensor hidden = Parameter("hidden.weight", new Shape(6, 3, 1, 1)), maps = Parameter("maps.weight", new Shape(4, 6, 1, 1));
        Tensor last = Parameter("last.weight", new Shape(5, 4));
        Tensor images = OddTransformer.Values(new Shape(2, 3, 4, 4));
        Graph network = Graph.Trace(x =>
        {
            Tensor map = F.Conv2d(F.Relu(F.Conv2d(x[0], hidden)), maps);
            return [F.Linear(F.GlobalAvgPool2d(map), last), map];
        }, [("images", Tensor.Meta(images.Shape))], [("hidden.weight", hidden), ("maps.weight", maps), ("last.weight", last)]);
        using DependencyGraph graph = DependencyGraph.Build(network, images);
        Assert.Equal(("hidden", 6), (Assert.Single(graph.Groups).Name, graph.Groups[0].Count));
        Assert.Contains(graph.Fixed, f => f.Name == "maps" && f.Reason.Contains("output", StringComparison.Ordinal));
        RemovalReport report = Removal.Apply(graph, new RemovalPlan().Add(graph["hidden"], 0, 4), new RemovalOptions(MoveConstants: false));
        Assert.InRange(report.Difference, 0, 1e-5f);
        using var session = new Session(network);
        Assert.Equal([5, 4 * 16], session.OutputValues);
        var results = new float[2 * session.ResultValues];
        session.Run(images.Span, 2, results);
        Assert.InRange(Removal.Difference(Removal.Values(network.Run([images])), results), 0, 1e-5f);
    }

    [Fact]
    public void Outputs_are_compared_place_by_place()
    {
        using Model model = Open("decoder"), other = model.Copy();
        using var scope = new Scope();
        Tensor images = OddTransformer.Values(new Shape(3, 3, 16, 16));
        using Session first = model.Session(), same = model.Session();
        Shape maps = model.Graph.Outputs[0].Shape;
        Assert.Equal((maps[1], maps[2] * maps[3]), (first.NumClasses, first.Places));
        OutputComparison equal = SideBySide.Outputs(first, same, [images]);
        Assert.Equal((1, 1), (Math.Round(equal.Cosine, 5), equal.SameAnswer));
        foreach (var (_, weight) in other.Graph.Parameters)
            for (int i = 0; i < weight.Length; i += 2) weight.Span[i] *= -0.5f;
        using Session changed = other.Session();
        OutputComparison different = SideBySide.Outputs(first, changed, [images]);
        Assert.InRange(different.SameAnswer, 0.001, 0.999);
        Assert.True(different.Cosine < 0.999);
        float[] a = model.Graph.Run(images).ToArray(), b = other.Graph.Run(images).ToArray();
        int classes = maps[1], places = first.Places, agree = 0;
        for (int i = 0; i < 3 * places; i++) if (Best(a, i / places, i % places) == Best(b, i / places, i % places)) agree++;
        Assert.Equal((double)agree / (3 * places), different.SameAnswer, 3.0 / places);

        int Best(float[] y, int image, int place) =>
            Enumerable.Range(0, classes).MaxBy(c => y[(image * classes + c) * places + place]);
    }

    /// <summary>Of one channel the sign is the class; what is no number is nobody's class.</summary>
    [Fact]
    public void Maps_of_one_channel_are_compared_by_sign()
    {
        using var scope = new Scope();
        Tensor weight = Parameter("maps.weight", new Shape(1, 3, 1, 1));
        Graph network = Graph.Trace(x => [F.Conv2d(x[0], weight)], [("images", Tensor.Meta(new Shape(1, 3, 4, 4)))], [("maps.weight", weight)]);
        Tensor images = OddTransformer.Values(new Shape(2, 3, 4, 4));
        using var first = new Session(network);
        weight.Span[0] = -weight.Span[0] - 1;
        using var second = new Session(network);
        float[] a = new float[32], b = new float[32];
        first.Run(images.Span, 2, a);
        second.Run(images.Span, 2, b);
        double agree = a.Zip(b).Count(p => p.First > 0 == p.Second > 0) / 32.0;
        Assert.InRange(agree, 0.01, 0.99);
        Assert.Equal(agree, SideBySide.Outputs(first, second, [images]).SameAnswer, 6);
        weight.Fill(float.NaN);
        using var broken = new Session(network);
        Assert.Equal(0, SideBySide.Outputs(first, broken, [images]).SameAnswer);
    }

    [Fact]
    public void Tokens_are_no_logits()
    {
        using var scope = new Scope();
        Tensor weight = Parameter("w", new Shape(5, 4));
        Graph network = Graph.Trace(x => [F.Linear(F.Reshape(x[0], [-1, 3, 4]), weight)],
            [("images", Tensor.Meta(new Shape(1, 3, 2, 2)))], [("w", weight)]);
        using var session = new Session(network);
        var picture = new Espalier.Imaging.Image(2, 2, 3, new byte[12]);
        Assert.Contains("no logits", Assert.Throws<EspalierException>(() => new Predictor(session).Run(picture)).Message);
    }

    [Fact]
    public void Accuracy_and_predictions_are_refused()
    {
        using Model model = Open("decoder");
        using Session session = model.Session();
        Assert.Contains("gives maps", Assert.Throws<EspalierException>(() => new ClassifierTask(model, new ClassifierTaskOptions())).Message);
        var picture = new Espalier.Imaging.Image(16, 16, 3, new byte[16 * 16 * 3]);
        Assert.Contains("gives maps", Assert.Throws<EspalierException>(() => new Predictor(session).Run(picture)).Message);
    }

    /// <summary>The end of a path says which kind of file is written.</summary>
    [Theory]
    [InlineData("net.onnx")]
    [InlineData("net.safetensors")]
    public void A_map_network_is_a_file(string name)
    {
        using Model model = Open("decoder");
        using var scope = new Scope();
        Tensor images = OddTransformer.Values(new Shape(2, 3, 16, 16));
        string path = Path.Combine(folder.Path, name);
        model.Save(path);
        using Model read = Model.Open(path);
        Assert.Equal(model.Graph.Outputs[0].Shape, read.Graph.Outputs[0].Shape);
        Assert.InRange(Removal.Difference(model.Graph.Run(images).Span, read.Graph.Run(images).Span), 0, 1e-5f);
        Assert.Equal(name.EndsWith("onnx", StringComparison.Ordinal), File.ReadAllBytes(path)[0] == 8);
    }

    /// <summary>Heads that a plain reshape makes of the last axis go one by one: it is the first of the new axes that becomes shorter.
    /// </summary>
    [Fact]
    public void Heads_of_a_reshape_are_removed()
    {
        using var scope = new Scope();
        Tensor rows = Parameter("rows.weight", new Shape(12, 12)), scale = Parameter("scale", new Shape(1, 3, 1));
        Tensor last = Parameter("last.weight", new Shape(5, 12));
        Tensor Forward(Tensor x)
        {
            Tensor y = F.Linear(F.Flatten(x), rows);
            return F.Linear(F.Flatten(F.Exp(F.Mul(F.Reshape(y, new Shape(x.Shape[0], 3, 4)), scale))), last);
        }
        var images = OddTransformer.Values(new Shape(2, 3, 2, 2));
        Graph network = Graph.Trace(Forward, images.Shape,
            [("rows.weight", rows), ("scale", scale), ("last.weight", last)]);
        using DependencyGraph graph = DependencyGraph.Build(network, images);
        ChannelGroup heads = Assert.Single(graph.Groups);
        Assert.Equal(3, heads.Count);
        float[] kept = network.Run(images).ToArray();
        using (Removal.Try(graph, new RemovalPlan().Add(heads, 1)))
        {
            Assert.Equal(new Shape(8, 12), rows.Shape);
            Assert.Equal(new Shape(2, 5), network.Run(images).Shape);
        }
        Assert.Equal(kept, network.Run(images).ToArray());
    }

    private static Tensor Parameter(string name, Shape shape)
    {
        Tensor values = OddTransformer.Values(shape);
        Tensor weight = Tensor.Parameter(shape);
        weight.CopyFrom(values);
        weight.Name = name;
        return weight;
    }

    private static Model Open(string name) => Model.Open(Path.Combine(AppContext.BaseDirectory, "Goldens", "Onnx", $"{name}.onnx"));
}
