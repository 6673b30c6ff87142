using Espalier.Formats.Onnx;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>Files of ONNX become graphs that give what the file gives, whatever wrote them.</summary>
public sealed class OnnxImportTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string> Networks => [.. CnnPresets.Names, "vit-tiny-28"];

    [Theory, MemberData(nameof(Networks))]
    public void WhatIsWrittenIsReadAgain(string architecture)
    {
        bool cnn = CnnPresets.Names.Contains(architecture);
        using Model model = cnn ? Model.Create(architecture, classes: 5, imageSize: 64, width: 0.25) : Model.Create(architecture);
        Randomise(model.Graph);
        string path = Path.Combine(folder.Path, "net.onnx");
        foreach (int opset in OnnxFile.Opsets)
        {
            model.ExportOnnx(path, new OnnxOptions { Opset = opset });
            using Model read = Model.Open(path);
            Same(model.Graph, read.Graph, 1e-5f);
            Assert.Equal(model.Card.Architecture, read.Card.Architecture);
            Assert.Equal(model.Card.Preprocessing?.Mean, read.Card.Preprocessing?.Mean);
            Assert.Equal("logits", Assert.Single(read.Graph.Outputs).Name);
            // The names of weights survive, and what is trained is trained again. A list of all channels is not written.
            if (cnn) Assert.Equal(Weights(model), Weights(read));
        }

        static IEnumerable<(string, bool)> Weights(Model model) => model.Graph.ReadWeights()
            .Where(w => !w.Name.EndsWith("index", StringComparison.Ordinal)).Select(w => (w.Name, w.Tensor.RequiresGrad)).OrderBy(w => w.Name);
    }

    [Fact]
    public void ASecondRoundTripChangesNothing()
    {
        using Model model = Model.Create("mobilenet_v2", classes: 5, imageSize: 32, width: 0.25);
        string first = Path.Combine(folder.Path, "first.onnx"), second = Path.Combine(folder.Path, "second.onnx");
        model.ExportOnnx(first);
        using (Model read = Model.Open(first)) read.ExportOnnx(first);
        using (Model read = Model.Open(first)) read.ExportOnnx(second);
        Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(second));
    }

    /// <summary>Its author and licence, from file to file; what this library says itself is not taken for a file's own words.</summary>
    [Fact]
    public void AFilesOwnWordsSurvive()
    {
        using Model model = Model.Create("resnet20", classes: 5, imageSize: 32, width: 0.25);
        model.Card = model.Card with { Metadata = new Dictionary<string, string> { ["model_author"] = "somebody", ["model_license"] = "MIT" } };
        string first = Path.Combine(folder.Path, "first.onnx"), kept = Path.Combine(folder.Path, "kept.safetensors");
        model.ExportOnnx(first);
        using (Model read = Model.Open(first)) read.Save(kept);
        using Model again = Model.Open(kept);
        Assert.Equal(model.Card.Metadata, again.Card.Metadata);
        again.ExportOnnx(first);
        using Model last = Model.Open(first);
        Assert.Equal(model.Card.Metadata, last.Card.Metadata);
        Assert.Equal($"{last.Graph.ReadWeights().Count()} tensors matched", last.Report.ToString());
    }

    [Fact]
    public void OtherNumbersOfClassesGetAFreshHeadAndForeignOptionsAreRefused()
    {
        using Model model = Model.Create("resnet20", classes: 5, imageSize: 32, width: 0.25);
        string path = Path.Combine(folder.Path, "net.onnx");
        model.ExportOnnx(path);
        using Model read = Model.Open(path, new OpenOptions { Classes = 7 });
        Assert.Equal(7, read.NumClasses);
        Assert.Contains("leave Architecture", Assert.Throws<EspalierException>(
            () => Model.Open(path, new OpenOptions { Architecture = "resnet20" })).Message);
        Assert.Contains("no such file", Assert.Throws<EspalierException>(() => Model.Open(path + ".onnx")).Message);
    }

    [Fact]
    public void HostileMessagesAreRefusedBeforeMemoryIsTaken()
    {
        byte[] graph = [0x3a, 0x00];
        Refused("opset", [.. graph, 0x42, 0x02, 0x10, 0x1a]);
        Refused("no graph", []);
        Refused("ten bytes", [0x08, .. Enumerable.Repeat((byte)0xff, 11)]);
        Refused("bytes, and", [0x3a, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        Refused("wire type 3", [.. Enumerable.Repeat((byte)0x0b, 1_000_000)]);
        Refused("training_info", [0xa2, 0x01, 0x00]);
        Refused("a node's operator is '.A?dd'", [0x3a, 0x08, 0x0a, 0x06, 0x22, 0x04, (byte)'A', (byte)'\n', (byte)'d', (byte)'d']);
        // A constant of 2^32 x 2^32 floats.
        byte[] dims = [0x08, 0x80, 0x80, 0x80, 0x80, 0x10, 0x08, 0x80, 0x80, 0x80, 0x80, 0x10, 0x10, 0x01];
        Refused("is [4294967296,4294967296]", [0x3a, (byte)(dims.Length + 2), 0x2a, (byte)dims.Length, .. dims]);

        static void Refused(string what, byte[] file)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            string message = Assert.Throws<EspalierException>(() => Formats(file)).Message;
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
            Assert.Contains(what, message, StringComparison.Ordinal);
        }

        static OnnxImport.Result Formats(byte[] file) => Espalier.Formats.ReadGuard.Run("net.onnx", () => OnnxImport.Read(file, null));
    }

    /// <summary>What asks for more than a network has is refused before there is work for each entry.</summary>
    [Fact]
    public void DamagedLengthsOfListsAreRefused()
    {
        // Borders as PyTorch writes them, with one length that is damaged.
        Refused("far more numbers", net => Pad(net, 2_490_372));
        Refused("1004 pads for 4 axes", net => Pad(net, 1004));
        Refused("names 1000 axes", net => net.Node("Slice", "y", ["images", Zeros(net, "a", 1000), Zeros(net, "b", 1000)]));
        Refused("names 1000 axes", net => net.Node("Squeeze", "y", ["images", Zeros(net, "a", 1000)]));
        Refused("names 1004 axes", net => net.Node("Unsqueeze", "y", ["images", Zeros(net, "a", 1000)]));
        Refused("names 1000 axes", net => net.Node("Reshape", "y", ["images", Zeros(net, "a", 1000)]));
        Refused("names 1000 axes", net => net.Node("Expand", "y", ["images", Zeros(net, "a", 1000)]));
        Refused("names 1000 axes", net => net.Node("ReduceSum", "y", ["images", Zeros(net, "a", 1000)]));
        Refused("names 1000 axes", net => net.Node("Transpose", "y", ["images"], OnnxAttribute.Ints("perm", new long[1000])));
        Refused("by 1000 lengths", net => net.Node("Split", "y", ["images", Zeros(net, "a", 1000)]));

        // Windows and heads as no network has them.
        Refused("far larger than any network's", net => net.Node("AveragePool", "y", ["images"],
            OnnxAttribute.Ints("kernel_shape", 1, 1 << 19),
            OnnxAttribute.Ints("pads", 0, 1 << 19, 0, 1 << 19)));
        Refused("far larger than any network's", net => net.Node("MaxPool", "y", ["images"],
            OnnxAttribute.Ints("kernel_shape", 3, 9)));
        Refused("do not share 1 of keys", net => net.Node("Attention", "y", [Rows(net), "rows", "rows"],
            OnnxAttribute.Int("q_num_heads", 1L << 40),
            OnnxAttribute.Int("kv_num_heads", 1)));

        static string Rows(OnnxGraph net)
        {
            net.Constant(OnnxTensor.Of("three", [3], new long[] { 0, 3, -1 }));
            return net.Node("Reshape", "rows", ["images", "three"]);
        }

        static string Zeros(OnnxGraph net, string name, long count)
        {
            net.Constant(OnnxTensor.Of($"{name}.length", [1], new[] { count }));
            return net.Node("Cast", $"{name}.whole", [net.Node("ConstantOfShape", $"{name}.zeros", [$"{name}.length"])], OnnxAttribute.Int("to", 7));
        }

        static string Pad(OnnxGraph net, long count)
        {
            net.Constant(OnnxTensor.Of("pairs", [2], new long[] { -1, 2 }));
            net.Constant(OnnxTensor.Of("flat", [1], new long[] { -1 }));
            string pairs = net.Node("Reshape", "reshaped", [Zeros(net, "a", count), "pairs"]);
            string turned = net.Node("Transpose", "turned", [pairs], OnnxAttribute.Ints("perm", 1, 0));
            return net.Node("Pad", "y", ["images", net.Node("Reshape", "pads", [turned, "flat"])]);
        }

        void Refused(string what, Func<OnnxGraph, string> make)
        {
            var net = new OnnxGraph("net", 17);
            net.Inputs.Add(new OnnxValue("images", OnnxType.Float, ["N", "3", "8", "8"]));
            net.Outputs.Add(new OnnxValue(make(net), OnnxType.Float, ["N", "3", "8", "8"]));
            string path = Path.Combine(folder.Path, "net.onnx");
            new OnnxModel(net, []).Write(path);
            string message = Assert.Throws<EspalierException>(() => OnnxImport.Read(path)).Message;
            Assert.Contains(what, message, StringComparison.Ordinal);
            Assert.True(message.Length < 400, message);
        }
    }

    /// <summary>Whether the file can be written is known before there is work in the network.</summary>
    [Fact]
    public void TheSizeOfAFileIsKnownBeforeItIsWritten()
    {
        using Model model = Model.Create("resnet20", classes: 5, imageSize: 32, width: 0.25);
        string path = Path.Combine(folder.Path, "net.onnx");
        long expected = OnnxFile.Length(model, path);
        Assert.False(File.Exists(path));
        Assert.Equal(expected, model.ExportOnnx(path).Bytes);
        Assert.Equal(expected, Espalier.Compression.BeforeAfter.Bytes(model, path));
        Assert.NotEqual(expected, Espalier.Compression.BeforeAfter.Bytes(model));
        OnnxFile.RequireWritable(model, path);
        OnnxFile.RequireWritable(model, "net.safetensors", left: 1e9);
        string message = Assert.Throws<EspalierException>(() => OnnxFile.RequireWritable(model, path, left: 1e9)).Message;
        Assert.Contains("at most 2 GB", message);
    }

    [Fact]
    public void HalfWidthFloatsAreReadFromPatternsInIntegers()
    {
        OnnxSourceTensor half = OnnxSourceReader.ReadTensor(new byte[] { 0x08, 0x01, 0x10, 0x0a, 0x2a, 0x02, 0x80, 0x78 });
        OnnxSourceTensor bfloat = OnnxSourceReader.ReadTensor(new byte[] { 0x08, 0x01, 0x10, 0x10, 0x2a, 0x02, 0x80, 0x7f });
        Assert.Equal((1, 1), (half.At(0, default), bfloat.At(0, default)));
    }

    internal static void Randomise(Graph graph)
    {
        var rng = new Rng(11);
        foreach (GraphValue weight in graph.Weights.Values)
        {
            if (weight.Name.EndsWith("running_var", StringComparison.Ordinal)) Init.Uniform(weight.Tensor, 0.5f, 2, ref rng);
            else if (weight.Shape.Rank == 1 && !weight.Name.EndsWith("index", StringComparison.Ordinal))
                Init.Normal(weight.Tensor, 0.3f, ref rng);
        }
    }

    /// <summary>For one image and for three.</summary>
    internal static void Same(Graph expected, Graph actual, float tolerance)
    {
        foreach (int images in new[] { 1, 3 })
        {
            using var scope = new Scope();
            var x = new Tensor(expected.Inputs[0].Shape.With(0, images));
            var rng = new Rng(3, (ulong)images);
            Init.Normal(x, 1, ref rng);
            float[] one = expected.Run(x).ToArray(), two = actual.Run(x).ToArray();
            Assert.Equal(one.Length, two.Length);
            float most = tolerance * Math.Max(1e-3f, one.Max(MathF.Abs));
            for (int i = 0; i < one.Length; i++) Assert.True(MathF.Abs(one[i] - two[i]) <= most, $"{i}: {one[i]} and {two[i]}");
        }
    }
}
