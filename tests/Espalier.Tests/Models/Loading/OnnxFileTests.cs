using System.Runtime.InteropServices;
using System.Text.Json;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Models.Loading;

/// <summary>What is in the file; whether it computes the right thing, <see cref="OnnxRuntimeTests"/> ask ONNX Runtime.</summary>
public sealed class OnnxFileTests : IDisposable
{
    private readonly TempFolder folder = new();

    private string File => Path.Combine(folder.Path, "model.onnx");

    public void Dispose() => folder.Dispose();

    [Fact]
    public void TheFileSaysWhatItIs()
    {
        using AgentModel model = RandomModel.Create(RandomModel.Tiny);
        string[] names = ["a", "b", "c", "d", "e", "f", "\"é\""];
        model.Model.Card = model.Model.Card with { Classes = names };
        OnnxSummary summary = model.WriteOnnx(File, prune: false);
        var read = new OnnxReader(File);
        Assert.Equal((8, 17, "espalier"), (read.IrVersion, read.Opset, read.Producer));
        Assert.Equal(["images 1 [N, 3, 24, 24]"], read.Inputs);
        Assert.Equal(["logits 1 [N, 7]"], read.Outputs);
        Assert.Equal("images [N, 3, 24, 24]", Assert.Single(summary.Inputs));
        Assert.Equal((17, new FileInfo(File).Length), (summary.Opset, summary.Bytes));
        Assert.Equal(("24", "[0.5,0.5,0.5]", "[0.5,0.5,0.5]"),
            (read.Metadata["input_size"], read.Metadata["mean"], read.Metadata["std"]));
        Assert.Equal(names, JsonSerializer.Deserialize<string[]>(read.Metadata["class_names"]));
        Assert.Equal(names, JsonDocument.Parse(read.Metadata["espalier"]).RootElement.GetProperty("card").GetProperty("classes")
            .EnumerateArray().Select(c => c.GetString()));
    }

    [Theory]
    [InlineData(false, Precision.Fp32)]
    [InlineData(true, Precision.Fp32)]
    [InlineData(false, Precision.Int8)]
    [InlineData(true, Precision.Int8)]
    public void EveryValueIsThereBeforeItIsReadAndIsRead(bool prune, Precision precision)
    {
        using AgentModel model = RandomModel.Create(RandomModel.Tiny with { Distilled = true }, agents: true);
        model.WriteOnnx(File, prune, precision);
        var read = new OnnxReader(File);
        HashSet<string> known = [.. read.Constants.Keys, "images"], unread = [.. read.Constants.Keys, "images"];
        foreach (var (op, inputs, outputs) in read.Nodes)
        {
            foreach (string input in inputs)
            {
                Assert.True(known.Contains(input), $"{op} reads {input}, which is not there");
                unread.Remove(input);
            }
            foreach (string output in outputs) Assert.True(known.Add(output) && unread.Add(output), $"{output} is there twice");
        }
        string[] results = [.. read.Outputs.Select(o => o.Split(' ')[0])];
        Assert.Empty(results.Except(known));
        Assert.Empty(unread.Except(results));
        foreach (var (name, (shape, type, data)) in read.Constants)
            Assert.True(data.Length == shape.Aggregate(1L, (a, b) => a * b) * (type switch { 1 => 4, 7 => 8, _ => 1 }), name);
    }

    [Fact]
    public void WeightsAreThoseOfTheModel()
    {
        using AgentModel model = RandomModel.Create(RandomModel.Tiny);
        using var scope = new Scope();
        model.WriteOnnx(File, prune: false);
        var read = new OnnxReader(File);
        foreach (var (name, tensor) in model.StateDict().Where(p => !p.Name.EndsWith("cls_token")
            && !p.Name.EndsWith("position_embeddings")))
        {
            // MatMul reads the weights of the blocks' linear layers as [in, out].
            Tensor expected = name.Contains(".layer.") && tensor.Rank == 2 ? F.Transpose(tensor) : tensor;
            var (shape, _, data) = read.Constants[name];
            Assert.Equal(expected.Shape.ToArray(), shape.Select(n => (int)n));
            Assert.Equal(expected.ToArray(), MemoryMarshal.Cast<byte, float>(data).ToArray());
        }
    }

    [Fact]
    public void WeightsOf8BitsAreRoundedByTheLargestOfTheirOutput()
    {
        using AgentModel model = RandomModel.Create(RandomModel.Tiny);
        const string name = "transformer.encoder.layer.1.ffn.fc1.weight";
        Tensor weight = model.StateDict().Single(p => p.Name == name).Value;
        weight.Span[..24].Clear();      // an output without weights
        model.WriteOnnx(File, prune: false, Precision.Int8);
        var read = new OnnxReader(File);
        var (shape, type, data) = read.Constants[name];
        Assert.Equal([24, 40], shape);
        Assert.Equal(3, type);
        float[] scales = MemoryMarshal.Cast<byte, float>(read.Constants[name + ".scales"].Data).ToArray();
        for (int o = 0; o < 40; o++)
        {
            float[] row = weight.Span.Slice(o * 24, 24).ToArray();
            Assert.Equal(row.Max(MathF.Abs) / 127, scales[o], 1e-7f);
            for (int i = 0; i < 24; i++)
                Assert.True(MathF.Abs((sbyte)data[i * 40 + o] * scales[o] - row[i]) <= 0.5001f * scales[o], $"{o}, {i}");
        }
    }

    [Fact]
    public void Opset23HasFewerOperators()
    {
        using AgentModel model = RandomModel.Create(RandomModel.Tiny);
        model.WriteOnnx(File, prune: false);
        int before = new OnnxReader(File).Nodes.Length;
        model.WriteOnnx(File, prune: false, opset: 23);
        var read = new OnnxReader(File);
        Assert.Equal((11, 23), (read.IrVersion, read.Opset));
        Assert.Equal(4, read.Nodes.Count(n => n.Operator == "Attention"));
        Assert.Equal(4, read.Nodes.Count(n => n.Operator == "Gelu"));
        Assert.True(read.Nodes.Length < before);
        Assert.Contains("17 or 23",
            Assert.Throws<EspalierException>(() => model.WriteOnnx(File, prune: false, opset: 18)).Message);
    }

    [Fact]
    public void AnotherPrecisionIsRefused()
    {
        using AgentModel model = RandomModel.Create(RandomModel.Tiny);
        Assert.Contains("fp32 or int8", Assert.Throws<EspalierException>(
            () => model.WriteOnnx(File, prune: false, Precision.Bf16)).Message);
    }

    [Fact]
    public void APrunedFileHasTwoOutputsMoreAndTheModelsThreshold()
    {
        using AgentModel model = RandomModel.Create(RandomModel.Tiny, agents: true);
        model.Threshold = 0.375f;
        model.WriteOnnx(File, prune: true);
        var read = new OnnxReader(File);
        Assert.Equal(["images 1 [1, 3, 24, 24]"], read.Inputs);
        Assert.Equal(["logits 1 [1, 7]", "tokens 7 [3]", "kept 7 [K]"], read.Outputs);
        for (int i = 0; i < 3; i++)
            Assert.Equal(0.375f, BitConverter.ToSingle(read.Constants[$"transformer.encoder.clip_layer.{i}.threshold"].Data));
    }

    [Fact]
    public void EqualModelsGiveEqualBytesAndNothingElseInTheFolder()
    {
        using AgentModel model = RandomModel.Create(RandomModel.Tiny, agents: true);
        model.WriteOnnx(File, prune: true);
        byte[] first = System.IO.File.ReadAllBytes(File);
        model.WriteOnnx(File, prune: true);
        Assert.Equal(first, System.IO.File.ReadAllBytes(File));
        Assert.Single(Directory.GetFiles(folder.Path));
    }
}
