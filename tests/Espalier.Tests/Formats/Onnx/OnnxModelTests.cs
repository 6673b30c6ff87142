using Espalier.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Formats.Onnx;

public sealed class OnnxModelTests
{
    [Fact]
    public void AModelOfMoreThan2GigabytesIsRefusedBeforeAnythingIsWritten()
    {
        using var folder = new TempFolder();
        var graph = new OnnxGraph("large", 17);
        graph.Constant(new OnnxTensor("weight", OnnxType.Float, [1 << 15, 1 << 15], _ => Assert.Fail("asked for the values")));
        string path = Path.Combine(folder.Path, "large.onnx");
        var e = Assert.Throws<EspalierException>(() => new OnnxModel(graph, []).Write(path));
        Assert.Contains("4.3 GB", e.Message);
        Assert.Contains(path, e.Message);
        Assert.Empty(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void AFileThatCannotBeFinishedLeavesTheOldOne()
    {
        using var folder = new TempFolder();
        string path = folder.File("model.onnx", [1, 2, 3]);
        var graph = new OnnxGraph("broken", 17);
        graph.Constant(new OnnxTensor("weight", OnnxType.Float, [4], _ => throw new IOException("no space left")));
        Assert.Contains("no space left", Assert.Throws<EspalierException>(() => new OnnxModel(graph, []).Write(path)).Message);
        Assert.Equal([1, 2, 3], File.ReadAllBytes(path));
        Assert.Single(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void AttributesAndShapesAreReadBack()
    {
        using var folder = new TempFolder();
        var graph = new OnnxGraph("g", 17);
        graph.Inputs.Add(new OnnxValue("x", OnnxType.Float, ["N", "3"]));
        graph.Outputs.Add(new OnnxValue("y", OnnxType.Int64, []));
        string n = graph.Constant(OnnxTensor.Of("n", [2], (long[])[-1, 300]));
        Assert.Equal("y", graph.Node("Op", "y", ["x", n], OnnxAttribute.Int("axis", -1),
            OnnxAttribute.Ints("perm", 0, 2, 1), OnnxAttribute.Float("epsilon", 1e-6f)));
        Assert.Throws<ArgumentException>(() => graph.Node("Op", "y", ["x"]));
        string path = Path.Combine(folder.Path, "g.onnx");
        new OnnxModel(graph, [new("key", "välue")]).Write(path);
        var read = new OnnxReader(path);
        Assert.Equal("välue", read.Metadata["key"]);
        Assert.Equal(["x 1 [N, 3]"], read.Inputs);
        Assert.Equal(["y 7 []"], read.Outputs);
        Assert.Equal([-1L, 300L], OnnxRuntime.Integers(read.Constants["n"].Data));
        ProtoFields[] attributes =
            new ProtoFields(File.ReadAllBytes(path)).Message(7).Message(1).Messages(5);
        Assert.Equal(["axis", "perm", "epsilon"], attributes.Select(a => a.Text(1)));
        Assert.Equal([2, 7, 1], attributes.Select(a => a.Int(20)));
        Assert.Equal(-1, attributes[0].Int(3));
        Assert.Equal([0, 2, 1], attributes[1].Ints(8));
        Assert.Equal(1e-6f, attributes[2].Float(2));
    }
}
