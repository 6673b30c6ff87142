using Espalier.Compression;
using Espalier.Formats;
using Espalier.Formats.Onnx;
using Espalier.Inference;
using Espalier.Nn;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>Networks as PyTorch exports them (tests/goldens/make_onnx.py): they give PyTorch's values, and are the graphs that this
/// library's own networks are.</summary>
public sealed class OnnxTorchTests : IDisposable
{
    private static readonly string Files = Path.Combine(AppContext.BaseDirectory, "Goldens", "Onnx");

    private readonly TempFolder folder = new();
    private readonly Checkpoint golden = CheckpointFile.Read(Path.Combine(Files, "values.safetensors"));

    public void Dispose() => folder.Dispose();

    public static TheoryData<string> Networks => [.. Directory.GetFiles(Files, "*.onnx").Select(f => Path.GetFileNameWithoutExtension(f)).Order()];

    [Theory, MemberData(nameof(Networks))]
    public void GivesWhatPyTorchGivesHoweverItIsRunOrStored(string name)
    {
        using Model model = Open(name);
        Matches(name, model.Graph);
        // PyTorch folds batch norms, and tables of relative positions are read as the biases that they make.
        if (name is not ("opset9" or "swin" or "maxvit")) Assert.Equal((long)golden[$"{name}/count"].Data[0], model.ParameterCount);

        string saved = Path.Combine(folder.Path, "net.safetensors"), written = Path.Combine(folder.Path, "net.onnx");
        model.Save(saved);
        using (Model read = Model.Open(saved)) Matches(name, read.Graph);
        foreach (int opset in OnnxFile.Opsets)
        {
            model.ExportOnnx(written, new OnnxOptions { Opset = opset });
            using Model again = Model.Open(written);
            Matches(name, again.Graph);
            Assert.Equal(model.Graph.Outputs.Select(o => o.Name), again.Graph.Outputs.Select(o => o.Name));
        }
        if (model.Graph.Outputs.Count > 1) return;
        using Session session = Session.Open(written);
        float[] x = golden[$"{name}/in"].Data, expected = golden[$"{name}/{model.Graph.Outputs[0].Name}"].Data;
        var actual = new float[expected.Length];
        session.Run(x, golden[$"{name}/in"].Shape[0], actual);
        Close(expected, actual);
    }

    /// <summary>What a file for one image gives for three is what it gives for each.</summary>
    [Fact]
    public void AFileForOneImageIsForAnyNumber()
    {
        using Model model = Open("static");
        using var scope = new Scope();
        var images = new Tensor(new Shape(3, 3, 16, 16));
        var rng = new Rng(4);
        Init.Normal(images, 1, ref rng);
        float[] all = model.Graph.Run(images).ToArray();
        for (int i = 0; i < 3; i++) Close(all[(5 * i)..(5 * i + 5)], model.Graph.Run(F.Slice(images, 0, i, 1)).ToArray());
    }

    /// <summary>With as many layers as the modules have, and nothing left of what exporters put around them.</summary>
    [Theory]
    [InlineData("torchvision", "Gelu:2")]
    [InlineData("fresh", "Gelu:2")]
    [InlineData("static", "Gelu:2")]
    [InlineData("timm", "Gelu:2")]
    [InlineData("huggingface", "Element:2")]
    [InlineData("norm17", "Gelu:2")]
    public void TransformersOfAllExportersAreOneKindOfGraph(string name, string activation)
    {
        using Model model = Open(name);
        string expected = $"Add:4 AssembleTokens:1 Attention:2 {activation} LayerNorm:5 Linear:14 PatchesToRows:1 Reshape:1 TakeRows:1";
        string found = string.Join(' ', model.Graph.Nodes.GroupBy(n => n.Op.Name).OrderBy(n => n.Key, StringComparer.Ordinal)
            .Select(n => $"{n.Key}:{n.Count()}"));
        Assert.Equal(expected.Split(' ').Order(StringComparer.Ordinal), found.Split(' ').Order(StringComparer.Ordinal));
        Assert.All(model.Graph.Nodes.Select(n => n.Op).OfType<AttentionOp>(), a => Assert.Equal(HeadLayout.Uniform(3, 4), a.Heads));
    }

    /// <summary>Every norm, activation and softmax (alone or in attention) of the modules, by the number of their blocks: 25, 12 and 12 of
    /// vit_b_16, 29, 12 and 12 of swin_t, 23 and 18 of convnext_tiny, 45, 45 and 22 of maxvit_t follow.</summary>
    [Theory]
    [InlineData("torchvision", 2 * 2 + 1, 2, 2)]
    [InlineData("swin", 2 * 3 + 1 + 1 + 1, 3, 3)]
    [InlineData("convnext", 1 + 1 + 3 + 1, 3, 0)]
    [InlineData("maxvit", 4 + 1, 4 + 1, 2)]
    public void PatternsAreFoundInEveryBlock(string name, int norms, int activations, int softmaxes)
    {
        using Model model = Open(name);
        int Count(params string[] ops) => model.Graph.Nodes.Count(n => ops.Contains(n.Op.Name));
        Assert.Equal((norms, activations, softmaxes), (Count("LayerNorm"), Count("Gelu"), Count("Attention", "Softmax")));
    }

    /// <summary>The first time, a file has the last block for the class token alone; from then on a round trip changes no bit of what comes
    /// out, and attention stays what it is.</summary>
    [Theory, MemberData(nameof(Networks))]
    public void FurtherRoundTripsChangeNoBit(string name)
    {
        string written = Path.Combine(folder.Path, "net.onnx");
        using Model model = Open(name);
        using Model first = Again(model), second = Again(first), third = Again(second);
        using var scope = new Scope();
        Tensor images = Images(name);
        Tensor[] before = first.Graph.Run([images]);
        foreach (Model later in new[] { second, third })
        {
            Assert.Equal(Attentions(model), Attentions(later));
            Tensor[] after = later.Graph.Run([images]);
            for (int i = 0; i < before.Length; i++) Assert.Equal(before[i].ToArray(), after[i].ToArray());
        }

        Model Again(Model from)
        {
            from.ExportOnnx(written);
            return Model.Open(written);
        }

        static int Attentions(Model of) => of.Graph.Nodes.Count(n => n.Op is AttentionOp);
    }

    [Theory]
    [InlineData("torchvision")]
    [InlineData("timm")]
    public void HeadsAndHiddenUnitsAreCut(string name)
    {
        using Model model = Open(name);
        Tensor images = Images(name);
        using var flow = DependencyGraph.Build(model.Graph, images);
        GraphNode attention = model.Graph.Nodes.First(n => n.Op is AttentionOp);
        GraphNode hidden = model.Graph.Nodes.First(n => n.Op is GeluOp);
        RemovalPlan plan = new RemovalPlan().Add(flow[Layer(attention)], 1).Add(flow[Layer(hidden)], 2, 3, 19);
        RemovalReport report = Removal.Apply(flow, plan, new RemovalOptions(MoveConstants: false));
        Assert.InRange(report.Difference, 0, 2e-5f);
        Assert.Equal(HeadLayout.Uniform(2, 4), ((AttentionOp)model.Graph.Nodes.First(n => n.Op is AttentionOp).Op).Heads);
        string written = Path.Combine(folder.Path, "small.onnx");
        model.ExportOnnx(written);
        using Model read = Model.Open(written);
        Close(model.Graph.Run(images).ToArray(), read.Graph.Run(images).ToArray());
    }

    [Fact]
    public void TokensAreDroppedInAnImportedTransformerAndItTrains()
    {
        using Model model = Open("torchvision");
        Graph graph = model.Graph;
        GraphValue block = graph.Nodes.Where(n => n.Op is AddOp).ElementAt(1).Output;
        graph.InsertAfter(block, x => F.KeepRows(x, F.RowDot(x, F.TakeRows(x, 0)), KeepRule.Count(6)));
        Tensor images = Images("torchvision");
        int rows = 0;
        using var scope = new Scope();
        float before = Loss(step: true), after = Loss(step: false);
        Assert.Equal(images.Shape[0] * 7, rows);
        Assert.True(after < before, $"{before} to {after}");

        float Loss(bool step)
        {
            using var recording = new Recording();
            Tensor y = graph.Run([images], default, (v, t) => rows = v.Name == graph.Nodes.Last(n => n.Op is LayerNormOp).Name ? t.Shape[0] : rows)[0];
            Tensor loss = F.Sum(F.Square(y));
            if (step) Step(graph, recording, loss);
            return loss.Item();
        }
    }

    private static void Step(Graph graph, Recording recording, Tensor loss)
    {
        recording.Backward(loss);
        foreach (var (_, weight) in graph.Parameters)
        {
            if (weight.Grad is not { } grad) continue;
            for (int i = 0; i < weight.Length; i++) weight.Span[i] -= 1e-3f * grad.Span[i];
            weight.ClearGrad();
        }
    }

    /// <summary>Nodes that become one op are called as they were, as constants, inputs and outputs are; but a node that gives an output is
    /// called as that.</summary>
    [Theory]
    [InlineData("opset9", "Conv Gemm MaxPool Relu")]
    [InlineData("mixed", "Conv Gemm MaxPool Relu")]
    [InlineData("norm17", "LayerNormalization")]
    public void NamesSurviveARoundTrip(string name, string operators)
    {
        string written = Path.Combine(folder.Path, "net.onnx");
        using (Model model = Open(name)) model.ExportOnnx(written);
        OnnxSource before = Source(Path.Combine(Files, $"{name}.onnx")), after = Source(written);
        Assert.Equal(before.Inputs.Where(i => !before.Initialisers.ContainsKey(i.Name)).Select(i => i.Name), after.Inputs.Select(i => i.Name));
        Assert.Equal(before.Outputs.Select(o => o.Name), after.Outputs.Select(o => o.Name));
        Assert.Equal(before.GraphName, after.GraphName);
        HashSet<string> outputs = [.. before.Outputs.Select(o => o.Name)];
        OnnxSourceNode[] nodes = [.. before.Nodes.Where(n => operators.Split(' ').Contains(n.Operator) && !n.Outputs.Any(outputs.Contains))];
        Assert.NotEmpty(nodes);
        Assert.All(nodes, n => Assert.Contains(after.Nodes, a => (a.Operator, a.Name) == (n.Operator, n.Name)));
        string[] weights = [.. nodes.Where(n => n.Operator is "Conv" or "LayerNormalization").SelectMany(n => n.Inputs.Skip(1))
            .Where(before.Initialisers.ContainsKey)];
        Assert.NotEmpty(weights);
        Assert.All(weights, w => Assert.Contains(w, after.Initialisers.Keys));
    }

    /// <summary>Queries, keys and values of one layer are parts of its memory, and weights of their own.</summary>
    [Fact]
    public void PartsOfALayerDoNotTouchOneAnother()
    {
        using Model model = Open("timm");
        Tensor[] parts = [.. model.Graph.Weights.Values.Select(w => w.Tensor)];
        float[][] before = [.. parts.Select(p => p.ToArray())];
        for (int i = 0; i < parts.Length; i++)
        {
            parts[i].Fill(7);
            for (int k = 0; k < parts.Length; k++) if (k > i) Assert.Equal(before[k], parts[k].ToArray());
        }
    }

    /// <summary>PyTorch 1.13 writes equal weights once: each is a weight of its own again, and they part in the first step.</summary>
    [Fact]
    public void EqualWeightsThatWereWrittenOnceAreWeightsOfTheirOwn()
    {
        using Model fresh = Open("fresh"), other = Open("torchvision");
        Assert.Equal(other.ParameterCount, fresh.ParameterCount);
        Assert.Equal(fresh.Graph.Parameters.Count(), fresh.Graph.Parameters.Select(p => p.Value).Distinct().Count());
        // A new head is zero: no gradient comes through it.
        var rng = new Rng(4);
        Init.Normal(fresh.Graph.Outputs[0].Producer!.Operands[1]!.Tensor, 0.3f, ref rng);
        var written = Source(Path.Combine(Files, "fresh.onnx")).Nodes.Where(n => n.Operator == "Identity").SelectMany(n => n.Outputs)
            .Where(fresh.Graph.Weights.ContainsKey).ToArray();
        Assert.NotEmpty(written);
        string[][] equal = [.. written.GroupBy(n => string.Join(' ', fresh.Graph.Weights[n].Tensor.ToArray())).Select(g => g.ToArray())
            .Where(g => g.Length > 1)];
        Assert.NotEmpty(equal);
        using (new Scope())
        {
            using var recording = new Recording();
            Step(fresh.Graph, recording, F.Sum(F.Square(fresh.Graph.Run(Images("fresh")))));
        }
        foreach (string[] names in equal)
            Assert.Equal(names.Length, names.Select(n => string.Join(' ', fresh.Graph.Weights[n].Tensor.ToArray())).Distinct().Count());
    }

    /// <summary>What the layer is called that makes a node's first operand.</summary>
    private static string Layer(GraphNode node) => node.Operands[0]!.Producer!.Operands[1]!.Name[..^".weight".Length];

    private static OnnxSource Source(string path) => OnnxSourceReader.Read(ProtoSource.Of(File.ReadAllBytes(path)));

    private static Model Open(string name) => Model.Open(Path.Combine(Files, $"{name}.onnx"));

    private Tensor Images(string name) => Tensor.From(new Shape(golden[$"{name}/in"].Shape), golden[$"{name}/in"].Data);

    /// <summary>The images together, and the first by itself.</summary>
    private void Matches(string name, Graph graph)
    {
        using var scope = new Scope();
        Tensor images = Images(name), first = F.Slice(images, 0, 0, 1);
        Tensor[] all = graph.Run([images]), one = graph.Run([first]);
        for (int i = 0; i < all.Length; i++)
        {
            float[] expected = golden[$"{name}/{graph.Outputs[i].Name}"].Data;
            Close(expected, all[i].ToArray());
            Close(expected[..(int)one[i].Length], one[i].ToArray());
        }
    }

    private static void Close(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        float most = 1e-5f * Math.Max(1, expected.Max(MathF.Abs));
        for (int i = 0; i < expected.Length; i++) Assert.True(MathF.Abs(expected[i] - actual[i]) <= most, $"{i}: {expected[i]} and {actual[i]}");
    }
}
