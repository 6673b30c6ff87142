using System.Runtime.InteropServices;
using System.Text.Json;
using Espalier.Compression;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Compression;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Models;

/// <summary>What is in the file; whether it computes the right thing, <see cref="CnnOnnxRuntimeTests"/> tell.</summary>
public sealed class CnnOnnxTests : IDisposable
{
    private readonly TempFolder folder = new();

    private string File => Path.Combine(folder.Path, "model.onnx");

    public void Dispose() => folder.Dispose();

    [Fact]
    public void TheFileSaysWhatItIs()
    {
        using Cnn net = CompressionJobs.Net("resnet20", 20);
        string[] names = [.. Enumerable.Range(0, 10).Select(i => $"class {i}")];
        OnnxSummary summary = Model.FromModule(net, new ModelCard { Classes = names }).ExportOnnx(File);
        var read = new OnnxReader(File);
        Assert.Equal((8, 17, "espalier"), (read.IrVersion, read.Opset, read.Producer));
        Assert.Equal(["images 1 [N, 1, 20, 20]"], read.Inputs);
        Assert.Equal(["logits 1 [N, 10]"], read.Outputs);
        Assert.Equal(("images [N, 1, 20, 20]", "logits [N, 10]"), (summary.Inputs.Single(), summary.Outputs.Single()));
        Assert.Equal((17, new FileInfo(File).Length), (summary.Opset, summary.Bytes));
        Assert.Equal(("20", "[0.5]", "[0.5]"), (read.Metadata["input_size"], read.Metadata["mean"], read.Metadata["std"]));
        Assert.Equal(names, JsonSerializer.Deserialize<string[]>(read.Metadata["class_names"]));
        JsonElement card = JsonDocument.Parse(read.Metadata["espalier"]).RootElement.GetProperty("card");
        Assert.Equal("resnet20", card.GetProperty("architecture").GetString());
    }

    [Theory]
    [InlineData("vgg11_bn", 32)]
    [InlineData("densenet121", 32)]
    [InlineData("efficientnet_b0", 32)]
    [InlineData("shufflenet_v2_x1_0", 32)]
    public void EveryValueIsThereBeforeItIsReadAndIsRead(string name, int size)
    {
        using Cnn net = CompressionJobs.Net(name, size);
        OnnxFile.Write(File, Loaded(net));
        var read = new OnnxReader(File);
        HashSet<string> known = [.. read.Constants.Keys, "images"], unread = [.. known];
        foreach (var (op, inputs, outputs) in read.Nodes)
        {
            foreach (string input in inputs)
            {
                Assert.True(known.Contains(input), $"{op} reads {input}, which is not there");
                unread.Remove(input);
            }
            foreach (string output in outputs) Assert.True(known.Add(output) && unread.Add(output), $"{output} is there twice");
        }
        Assert.Equal(["logits"], unread);
    }

    [Fact]
    public void WeightsAreThoseOfTheNetworkAndNodesAreNamedAfterThem()
    {
        using Cnn net = CompressionJobs.Net("resnet50", 32);
        OnnxFile.Write(File, Loaded(net));
        var read = new OnnxReader(File);
        foreach (var (name, tensor) in net.StateDict())
        {
            var (shape, type, data) = read.Constants[name];
            Assert.Equal(1, type);
            Assert.Equal(tensor.Shape.ToArray(), shape.Select(n => (int)n));
            Assert.Equal(tensor.ToArray(), MemoryMarshal.Cast<byte, float>(data).ToArray());
        }
        Assert.Equal(net.Descendants<BatchNorm2d>().Count(), read.Nodes.Count(n => n.Operator == "BatchNormalization"));
        Assert.Contains(read.Nodes, n => n.Operator == "Conv" && n.Outputs.SequenceEqual(["layer3.2.conv1"]));
        Assert.Equal(16, read.Nodes.Count(n => n.Operator == "Add"));
    }

    [Fact]
    public void EqualNetworksGiveEqualBytesAndNothingElseInTheFolder()
    {
        using Cnn net = CompressionJobs.Net("shufflenet_v2_x1_0", 32), same = CompressionJobs.Net("shufflenet_v2_x1_0", 32);
        OnnxFile.Write(File, Loaded(net));
        byte[] first = System.IO.File.ReadAllBytes(File);
        OnnxFile.Write(File, Loaded(same));
        Assert.Equal(first, System.IO.File.ReadAllBytes(File));
        Assert.Single(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void ListsOfChannelsAreWrittenOnlyWhereTheyLeaveSomethingOut()
    {
        using Cnn net = ListNet.Create();
        OnnxFile.Write(File, Loaded(net));
        Assert.DoesNotContain(new OnnxReader(File).Nodes, n => n.Operator is "Gather" or "Pad");
        CompressionJobs.Job(net, CompressionMethods.Get("l1") with
        {
            Selection = new SelectionOptions { Ratio = 0.4, MinKept = 1 },
        }).Run();
        OnnxFile.Write(File, Loaded(net));
        var read = new OnnxReader(File);
        Assert.Equal(2, read.Nodes.Count(n => n.Operator == "Gather"));
        float[] index = net.StateDict().Single(p => p.Name == "select.index").Value.ToArray();
        Assert.InRange(index.Length, 1, 9);
        Assert.Equal(index.Select(c => (long)c), MemoryMarshal.Cast<byte, long>(read.Constants["select.index"].Data).ToArray());
    }

    [Fact]
    public void WhatOnnxHasNotIsNamedAndNothingIsWritten()
    {
        using var odd = new OddNet(x => F.Sum(x, 0));
        string message = Assert.Throws<EspalierException>(() => OnnxFile.Write(File, Loaded(odd))).Message;
        Assert.StartsWith("Sum:", message);
        Assert.DoesNotContain('\n', message);
        using var mixed = new OddNet(x => F.Reshape(F.Permute(x, 1, 0), x.Shape[0], x.Shape[1]));
        Assert.Contains("Permute:", Assert.Throws<EspalierException>(() => OnnxFile.Write(File, Loaded(mixed))).Message);
        using var fixedBatch = new OddNet(x => F.Add(x, Tensor.Zeros(x.Shape)));
        Assert.Contains("other batches", Assert.Throws<EspalierException>(() => OnnxFile.Write(File, Loaded(fixedBatch))).Message);
        Assert.Contains("17 or 23",
            Assert.Throws<EspalierException>(() => OnnxFile.Write(File, Loaded(odd), new OnnxOptions { Opset = 18 })).Message);
        Assert.Empty(Directory.GetFiles(folder.Path));
    }

    private static Graph Loaded(Cnn net) => net.Trace();

    /// <summary>Pixels as logits, by way of <paramref name="between"/>.</summary>
    private sealed class OddNet(Func<Tensor, Tensor> between)
        : Cnn(new CnnConfig("odd") { ImageSize = 8, Channels = 1, NumClasses = 64 })
    {
        public override Tensor Forward(Tensor images) => between(F.Reshape(images, images.Shape[0], 64));
    }
}
