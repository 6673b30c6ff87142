using System.Runtime.InteropServices;
using System.Text.Json;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>Graphs that no preset has, written and run in ONNX Runtime.</summary>
public sealed class OnnxNetworkTests : IDisposable
{
    private readonly TempFolder folder = new();

    private string File => Path.Combine(folder.Path, "network.onnx");

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(17, Precision.Fp32)]
    [InlineData(23, Precision.Fp32)]
    [InlineData(17, Precision.Int8)]
    public void ATransformerWhoseBlocksDifferGivesTheSame(int opset, Precision precision)
    {
        using var scope = new Scope();
        OddTransformer net = new();
        Graph graph = Graph.Trace(net.Forward, new Shape(2, 3, 8, 8), net.Weights);
        Tensor images = OddTransformer.Values(new Shape(4, 3, 8, 8));
        OnnxFile.Write(File, graph, new OnnxOptions { Opset = opset, Precision = precision });
        float[] expected = net.Forward(images).ToArray();
        float tolerance = precision == Precision.Fp32 ? 1e-5f : 0.1f, scale = expected.Max(MathF.Abs);
        foreach (int batch in new[] { 1, 4 })
        {
            float[] actual = OnnxRuntime.Floats(OnnxRuntime.Run(File, images.Span, batch)["logits"]);
            Assert.Equal(expected.Length, actual.Length);
            for (int i = 0; i < actual.Length; i++) Assert.Equal(expected[i], actual[i], tolerance * scale);
        }
        var read = new OnnxReader(File);
        string[] linears = [.. net.Weights.Where(w => w.Name.Contains("blocks.") && w.Value.Rank == 2).Select(w => w.Name)];
        Assert.Equal(18, linears.Length);
        Assert.All(linears, name => Assert.Equal(precision == Precision.Int8 ? 3 : 1, read.Constants[name].Type));
        foreach (string name in new[] { "patches.weight", "head.weight" })
        {
            Assert.Equal(1, read.Constants[name].Type);
            Tensor weight = net.Weights.Single(w => w.Name == name).Value;
            Assert.Equal(weight.ToArray(), MemoryMarshal.Cast<byte, float>(read.Constants[name].Data).ToArray());
        }
    }

    [Fact]
    public void TheLastBlockIsComputedForTheClassTokenAlone()
    {
        using var scope = new Scope();
        OddTransformer net = new();
        OnnxFile.Write(File, Graph.Trace(net.Forward, new Shape(2, 3, 8, 8), net.Weights));
        var read = new OnnxReader(File);
        // The rows are cut in front of the last block's queries and its shortcut, and nowhere else.
        Assert.Equal(2, read.Nodes.Count(n => n.Operator == "Slice"));
        Assert.DoesNotContain(read.Nodes, n => n.Operator == "Gather");
    }

    [Fact]
    public void EveryOutputAndInputHasItsName()
    {
        using var scope = new Scope();
        Tensor weight = OddTransformer.Values(new Shape(4, 3));
        weight.Name = "weight";
        Graph graph = Graph.Trace(x =>
        {
            Tensor sum = F.Add(x[0], x[1]), y = F.Linear(sum, weight);
            (sum.Name, y.Name) = ("sum", "y");
            return [y, sum, x[1], F.Exp(y), y];
        }, [("a", Tensor.Meta(new Shape(2, 3))), ("b", Tensor.Meta(new Shape(2, 3)))], [("weight", weight)]);
        OnnxSummary summary = OnnxFile.Write(File, graph);
        Assert.Equal(["a [N, 3]", "b [N, 3]"], summary.Inputs);
        Assert.Equal(["y [N, 4]", "sum [N, 3]", "b.2 [N, 3]", "exp [N, 4]", "y.4 [N, 4]"], summary.Outputs);
        Dictionary<string, float[]> results =
            OnnxRuntime.Run(File, new() { ["a"] = ([1, 3], [1, 2, 3]), ["b"] = ([1, 3], [4, 5, 6]) });
        Assert.Equal([5, 7, 9], results["sum"]);
        Assert.Equal([4, 5, 6], results["b.2"]);
        Assert.Equal(results["y"], results["y.4"]);
        for (int o = 0; o < 4; o++)
        {
            Span<float> w = weight.Span.Slice(3 * o, 3);
            Assert.Equal(5 * w[0] + 7 * w[1] + 9 * w[2], results["y"][o], 1e-5f);
        }
    }

    [Fact]
    public void WithoutPruningEveryRowIsKept()
    {
        using var scope = new Scope();
        Graph graph = Graph.Trace(x =>
        {
            Tensor rows = F.PatchesToRows(x, 2);
            return F.Exp(F.KeepRows(rows, F.Mean(rows, 1), KeepRule.AtLeast(0)));
        }, new Shape(2, 1, 4, 4), []);
        Assert.Equal(["logits [1, T, 4]", "tokens [1]", "kept [K]"], OnnxFile.Write(File, graph).Outputs);
        OnnxSummary dense = OnnxFile.Write(File, graph, new OnnxOptions { Prune = false });
        Assert.Equal(["logits [N, 4, 4]"], dense.Outputs);
        Assert.DoesNotContain(new OnnxReader(File).Nodes, n => n.Operator is "Compress" or "ReduceMean");
    }

    [Fact]
    public void WhatIsMadeOfWeightsAloneIsAConstant()
    {
        using var scope = new Scope();
        Tensor weight = OddTransformer.Values(new Shape(4, 3));
        Graph graph = Graph.Trace(x => F.Linear(x, F.Exp(F.Mul(weight, 0.5f))), new Shape(2, 3), [("layer.weight", weight)]);
        OnnxFile.Write(File, graph);
        var read = new OnnxReader(File);
        Assert.Equal("Gemm", Assert.Single(read.Nodes).Operator);
        float[] made = MemoryMarshal.Cast<byte, float>(Assert.Single(read.Constants.Values).Data).ToArray();
        for (int i = 0; i < 12; i++) Assert.Equal(MathF.Exp(weight.Span[i] / 2), made[i], 1e-6f);
    }

    [Fact]
    public void AModelIsWrittenWithItsCard()
    {
        using var scope = new Scope();
        using Model model = Model.Create("vit-tiny-28", classes: 3);
        model.Card = model.Card.With("made for a test") with { Classes = ["a", "b", "\"é\""] };
        Tensor images = OddTransformer.Values(new Shape(2, model.Channels, 28, 28));
        Tensor head = model.Graph["head.weight"].Tensor;
        OddTransformer.Values(head.Shape).Span.CopyTo(head.Span);
        Assert.Equal(["logits [N, 3]"], model.ExportOnnx(File, new OnnxOptions { Opset = 23 }).Outputs);
        float[] expected = model.Graph.Run(images).ToArray();
        float[] actual = OnnxRuntime.Floats(OnnxRuntime.Run(File, images.Span, 2)["logits"]);
        for (int i = 0; i < 6; i++) Assert.Equal(expected[i], actual[i], 1e-4f);
        var read = new OnnxReader(File);
        Assert.Equal(model.Card.Classes, JsonSerializer.Deserialize<string[]>(read.Metadata["class_names"]));
        JsonElement block = JsonDocument.Parse(read.Metadata["espalier"]).RootElement;
        JsonElement history = block.GetProperty("card").GetProperty("history");
        Assert.Equal(["made for a test"], history.EnumerateArray().Select(l => l.GetString()));
        Assert.Equal("28", read.Metadata["input_size"]);
    }

    [Fact]
    public void InEightBitsThereMustBeLinearLayersOfTokens()
    {
        Graph graph = Graph.Trace(x => F.Exp(x), new Shape(2, 3), []);
        string message = Assert.Throws<EspalierException>(
            () => OnnxFile.Write(File, graph, new OnnxOptions { Precision = Precision.Int8 })).Message;
        Assert.Contains("no linear layers", message);
    }

    [Fact]
    public void WhatIsForOneNumberOfImagesIsRefused()
    {
        using var scope = new Scope();
        (Func<Tensor, Tensor> Forward, string Word)[] cases =
        [
            (x => F.Sum(x), "Sum"), (x => F.Permute(x, 1, 0), "Permute"), (x => F.Reshape(x, 1, 6), "Reshape"),
            (x => F.Add(x, Tensor.Zeros(new Shape(2, 3))), "other batches"),
            (x => F.Concat(0, x, Tensor.Zeros(new Shape(2, 3))), "Concat"),
            (x => F.Slice(x, 0, 0, 1), "Slice"), (x => F.Pad(x, [(1, 0), (0, 0)]), "Pad"),
            (x => F.MatMul(x, x, transposeB: true), "MatMul"), (x => F.GatherRows(x, [0, 1]), "GatherRows"),
        ];
        foreach (var (forward, word) in cases)
        {
            Graph graph = Graph.Trace(forward, new Shape(2, 3), []);
            string message = Assert.Throws<EspalierException>(() => OnnxFile.Write(File, graph)).Message;
            Assert.Contains(word, message);
            Assert.DoesNotContain('\n', message);
        }
        Assert.Empty(Directory.GetFiles(folder.Path));
    }
}
