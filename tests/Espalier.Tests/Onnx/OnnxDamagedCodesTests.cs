using Espalier.Formats.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>Codes in a file of ONNX without what they stand for: one line says so, when the file is opened.</summary>
public sealed class OnnxDamagedCodesTests
{
    private static readonly float[] Three = [0.1f, 0.2f, 0.3f];

    [Theory]
    [InlineData("whole", null)]
    [InlineData("no scale", "weight")]
    [InlineData("a scale that is nowhere", "nowhere")]
    [InlineData("two scales of three rows", "scale")]
    [InlineData("book", null)]
    [InlineData("a code past the book", "entries")]
    public void IsOneLine(string damage, string? expected)
    {
        using var folder = new TempFolder();
        string path = Path.Combine(folder.Path, "codes.onnx");
        Write(path, damage);
        if (expected is null)
        {
            using Model model = Model.Open(path);
            using var scope = new Scope();
            Assert.Equal(3, model.Graph.Run(Tensor.Full(new Shape(1, 1, 2, 2), 1)).Length);
            return;
        }
        string message = Assert.Throws<EspalierException>(() => Model.Open(path).Dispose()).Message;
        Assert.Contains(expected, message);
        Assert.DoesNotContain('\n', message);
    }

    /// <summary>Images of 2 x 2 -> 3 classes, with a weight of codes, or of entries of a book.</summary>
    private static void Write(string path, string damage)
    {
        var file = new OnnxGraph("codes", 17);
        file.Inputs.Add(new OnnxValue("x", OnnxType.Float, ["N", "1", "2", "2"]));
        file.Outputs.Add(new OnnxValue("y", OnnxType.Float, ["N", "3"]));
        string weight = damage.Contains("book", StringComparison.Ordinal) ? Book(file, damage) : Codes(file, damage);
        string rows = file.Node("Flatten", "rows", ["x"], OnnxAttribute.Int("axis", 1));
        file.Node("Gemm", "y", [rows, weight], OnnxAttribute.Int("transB", 1));
        new OnnxModel(file, []).Write(path);
    }

    private static string Codes(OnnxGraph file, string damage)
    {
        byte[] bytes = [.. Enumerable.Range(0, 12).Select(i => (byte)(sbyte)(9 * i - 50))];
        string codes = file.Constant(new OnnxTensor("codes", OnnxType.Int8, [3, 4], stream => stream.Write(bytes)));
        string[] scale = damage switch
        {
            "no scale" => [],
            "a scale that is nowhere" => ["nowhere"],
            "two scales of three rows" => [file.Constant(OnnxTensor.Of("scale", [2], Three[..2]))],
            _ => [file.Constant(OnnxTensor.Of("scale", [3], Three))],
        };
        return file.Node("DequantizeLinear", "weight", [codes, .. scale], OnnxAttribute.Int("axis", 0));
    }

    private static string Book(OnnxGraph file, string damage)
    {
        byte[] bytes = [0, 1, 2, 2, 1, damage == "book" ? (byte)0 : (byte)3];
        string book = file.Constant(OnnxTensor.Of("book", [3, 2], (float[])[1, 2, 3, 4, 5, 6]));
        string codes = file.Constant(new OnnxTensor("codes", OnnxType.UInt8, [2, 3], stream => stream.Write(bytes)));
        string places = file.Node("Cast", "places", [codes], OnnxAttribute.Int("to", (int)OnnxType.Int64));
        string entries = file.Node("Gather", "entries", [book, places], OnnxAttribute.Int("axis", 0));
        string turned = file.Node("Transpose", "turned", [entries], OnnxAttribute.Ints("perm", 1, 0, 2));
        return file.Node("Reshape", "weight", [turned, file.Constant(OnnxTensor.Of("dims", [2], (long[])[3, 4]))]);
    }
}
