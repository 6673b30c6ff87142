using System.Runtime.InteropServices;
using System.Text;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>Constants in files beside the model's: read from its folder, refused from anywhere else.</summary>
public sealed class OnnxExternalDataTests : IDisposable
{
    private static readonly float[] Values = [1, 2, 4, 8];

    private readonly TempFolder folder = new(), outside = new();

    public OnnxExternalDataTests()
    {
        Directory.CreateDirectory(Path.Combine(folder.Path, "weights"));
        foreach (string path in new[] { Path.Combine(folder.Path, "weights", "w.bin"), Path.Combine(outside.Path, "w.bin") })
            File.WriteAllBytes(path, [.. new byte[8], .. MemoryMarshal.AsBytes(Values.AsSpan())]);
    }

    public void Dispose()
    {
        folder.Dispose();
        outside.Dispose();
    }

    [Theory]
    [InlineData("weights/w.bin", "8", "16", 1.0)]
    [InlineData("weights/w.bin", "8", null, 1.0)]
    [InlineData("weights/w.bin", "4", "16", 0.0)]
    public void FilesInTheFolderAreRead(string location, string offset, string? length, double first)
    {
        using var scope = new Scope();
        Tensor y = OnnxImport.Read(Write(location, offset, length)).Graph.Run(Tensor.Full(new Shape(3, 4), 0.5f));
        Assert.Equal(0.5 + first, y.Span[0], 1e-6);
        Assert.Equal(12, y.Length);
    }

    [Theory]
    [InlineData("../{0}/w.bin")]
    [InlineData("{1}/w.bin")]
    [InlineData("weights/../weights/w.bin")]
    [InlineData("/etc/passwd")]
    [InlineData("C:w.bin")]
    [InlineData("link.bin")]
    [InlineData("linked/w.bin")]
    [InlineData("second-name.bin")]
    [InlineData("weights")]
    [InlineData("missing.bin")]
    [InlineData("")]
    public void OthersAreNot(string location)
    {
        File.CreateSymbolicLink(Path.Combine(folder.Path, "link.bin"), Path.Combine(outside.Path, "w.bin"));
        Directory.CreateSymbolicLink(Path.Combine(folder.Path, "linked"), outside.Path);
        if (location.StartsWith("second", StringComparison.Ordinal))
        {
            if (!OperatingSystem.IsLinux()) return;
            using var link = System.Diagnostics.Process.Start("ln", [Path.Combine(outside.Path, "w.bin"), Path.Combine(folder.Path, location)]);
            link.WaitForExit();
        }
        string path = Write(string.Format(null, location, Path.GetFileName(outside.Path), outside.Path), "8", "16");
        Assert.Contains("no plain file inside the model's folder", Assert.Throws<EspalierException>(() => OnnxImport.Read(path)).Message);
    }

    [Theory]
    [InlineData("12", "16", "has others there")]
    [InlineData("8", "12", "has others there")]
    [InlineData("1152921504606846976", "16", "has others there")]
    [InlineData("-8", "16", "has the offset")]
    [InlineData("99999999999999999999", "16", "has the offset")]
    public void AndNoMoreThanIsThere(string offset, string length, string expected) => Assert.Contains(expected,
        Assert.Throws<EspalierException>(() => OnnxImport.Read(Write("weights/w.bin", offset, length))).Message);

    /// <summary>A tensor of a node has its numbers with it: one that says otherwise, and brings fewer, would be filled with whatever is in
    /// memory.</summary>
    [Fact]
    public void Tensors_of_nodes_are_in_the_file_itself() => Assert.Contains("is in another file",
        Assert.Throws<EspalierException>(() => OnnxImport.Read(Write("weights/w.bin", "8", "16", inNode: true))).Message);

    /// <summary>x [N, 4] plus a constant in another file.</summary>
    /// <param name="inNode">Whether a node holds it.</param>
    private string Write(string location, string offset, string? length, bool inNode = false)
    {
        byte[] Entry(string key, string value) => Part(13, [.. Text(1, key), .. Text(2, value)]);
        byte[] constant = [.. Number(1, 4), .. Number(2, 1), .. Text(8, "w"), .. Entry("location", location), .. Entry("offset", offset),
            .. length is null ? [] : Entry("length", length), .. Number(14, 1)];
        byte[] Value(string name) => [.. Text(1, name), .. Part(2, Part(1, [.. Number(1, 1),
            .. Part(2, [.. Part(1, Text(2, "N")), .. Part(1, Number(1, 4))])]))];
        byte[] node = [.. Text(1, "x"), .. Text(1, "w"), .. Text(2, "y"), .. Text(4, "Add")];
        byte[] holder = [.. Text(2, "w"), .. Text(4, "Constant"), .. Part(5, [.. Text(1, "value"), .. Part(5, constant), .. Number(20, 4)])];
        byte[] graph = [.. inNode ? Part(1, holder) : [], .. Part(1, node), .. inNode ? [] : Part(5, constant), .. Part(11, Value("x")), .. Part(12, Value("y"))];
        string path = Path.Combine(folder.Path, "net.onnx");
        File.WriteAllBytes(path, [.. Number(1, 8), .. Part(7, graph), .. Part(8, Number(2, 17))]);
        return path;
    }

    private static byte[] Number(int field, long value) => [.. Varint(field << 3), .. Varint(value)];

    private static byte[] Text(int field, string text) => Part(field, Encoding.UTF8.GetBytes(text));

    private static byte[] Part(int field, byte[] bytes) => [.. Varint(field << 3 | 2), .. Varint(bytes.Length), .. bytes];

    private static byte[] Varint(long value) => value < 0x80 ? [(byte)value] : [(byte)(value & 0x7f | 0x80), .. Varint(value >> 7)];
}
