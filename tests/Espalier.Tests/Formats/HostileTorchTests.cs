using System.IO.Compression;
using System.Text;
using Espalier.Formats;

namespace Espalier.Tests.Formats;

/// <summary>Archives around a storage "0" of eight float32 values 0 to 7, with tensors that claim all kinds of things.</summary>
public sealed class HostileTorchTests
{
    [Fact]
    public void TheGoodFormIsRead()
    {
        Checkpoint read = Read(Dictionary(Tensor("w", 1, [2, 3], [3, 1])));
        Assert.Equal([2, 3], read["w"].Shape);
        Assert.Equal([1f, 2f, 3f, 4f, 5f, 6f], read["w"].Data);
    }

    [Theory]
    [InlineData(0, new[] { 9 }, new[] { 1 }, "beyond the 32 bytes")]
    [InlineData(1, new[] { 8 }, new[] { 1 }, "beyond the 32 bytes")]
    [InlineData(0, new[] { 2, 2 }, new[] { 7, 1 }, "beyond the 32 bytes")]
    [InlineData(int.MaxValue, new[] { 1 }, new[] { 1 }, "beyond the 32 bytes")]
    [InlineData(0, new[] { 2 }, new[] { int.MaxValue }, "beyond the 32 bytes")]
    [InlineData(-1, new[] { 2 }, new[] { 1 }, "form")]
    [InlineData(0, new[] { 2 }, new[] { -1 }, "form")]
    [InlineData(0, new[] { -2 }, new[] { 1 }, "dimension -2")]
    [InlineData(0, new[] { 2, 2 }, new[] { 1 }, "form")]
    [InlineData(0, new[] { int.MaxValue, int.MaxValue }, new[] { 0, 0 }, "more elements")]
    [InlineData(0, new[] { int.MaxValue / 2 }, new[] { 0 }, "far more elements")]
    public void RefusesViewsThatAreNotThere(int offset, int[] shape, int[] strides, string reason) =>
        Assert.Contains(reason, Refusal(Dictionary(Tensor("w", offset, shape, strides))));

    /// <summary>Eight values, seen seventy thousand times over by different names.</summary>
    [Fact]
    public void RefusesSharingOutOfAllProportion()
    {
        byte[][] tensors = [.. Enumerable.Range(0, 70_000).Select(i => Tensor($"w{i}", 0, [8], [1]))];
        Assert.Contains("far more elements", Refusal(Dictionary(tensors)));
    }

    /// <summary>More than two thousand million values, of 64: their number and that of the storage add up to less than nothing in 32 bits.
    /// </summary>
    [Fact]
    public void RefusesAViewThatIsNearlyTooLargeToCount() =>
        Assert.Contains("far more elements", Refusal(Dictionary(Tensor("w", 0, [33554431, 64], [0, 1], "z", 64)),
            ("x/data/z", new byte[256])));

    /// <summary>The storage is large only once it is unpacked: zeros, and random bytes elsewhere so that the archive's ratio is
    /// harmless.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void RefusesViewsOfDeflatedZerosOutOfAllProportion(int stride)
    {
        const int count = 1 << 24;
        byte[] noise = new byte[1 << 20];
        new Random(1).NextBytes(noise);
        var level = CompressionLevel.Fastest;
        byte[] pickle = Dictionary(Tensor("w", 0, [count], [stride], "z", count));
        Assert.Contains("far more elements", Refusal(level, pickle, ("x/data/z", new byte[4 * count]), ("x/noise", noise)));
    }

    [Theory]
    [InlineData("1", 8, "no storage '1'")]
    [InlineData("../version", 8, "no storage '../version'")]
    [InlineData("0", 9, "32 bytes for 9 elements")]
    [InlineData("0", -1, "form")]
    public void RefusesStoragesThatAreNotThere(string key, int count, string reason) =>
        Assert.Contains(reason, Refusal(Dictionary(Tensor("w", 0, [8], [1], key, count))));

    [Fact]
    public void RefusesBigEndianMachines() =>
        Assert.Contains("big-endian", Refusal(Dictionary(Tensor("w", 0, [8], [1])), ("x/byteorder", "big"u8.ToArray())));

    [Fact]
    public void ReadsTheByteOrderOfThisOne() =>
        Assert.Equal(8, Read(Dictionary(Tensor("w", 0, [8], [1])), ("x/byteorder", "little"u8.ToArray()))["w"].Data.Length);

    [Fact]
    public void ReadsTheTensorsOfTorchScriptsModules()
    {
        byte[] child = [.. Text("child"), .. Module(Tensor("w", 1, [2], [1]), [.. Text("training"), 0x89])];
        Checkpoint read = Read([.. Module(Tensor("scale", 7, [], []), child), (byte)'.'], Program);
        Assert.Equal(["scale", "child.w"], read.Arrays.Keys);
        Assert.Equal([1f, 2f], read["child.w"].Data);
        Assert.Equal([7f], read["scale"].Data);
    }

    [Fact]
    public void RefusesModulesWithoutAProgram() =>
        Assert.Contains("__torch__.a.B", Refusal([.. Module(Tensor("w", 0, [8], [1])), (byte)'.']));

    [Fact]
    public void RefusesOtherNamesInAProgramsArchive() =>
        Assert.Contains("os.system", Refusal([.. "cos\nsystem\n"u8, .. Text("true"), 0x85, .. "R."u8], Program));

    [Fact]
    public void RefusesModulesWithoutTensors() => Assert.Contains("without a tensor", Refusal([.. Module(), (byte)'.'], Program));

    [Fact]
    public void AModuleThatHoldsItselfEnds()
    {
        byte[] self = [.. "c__torch__.a\nB\n)"u8, 0x81, .. "q\0}("u8, .. Text("me"), .. "h\0"u8, .. Text("too"), .. "h\0ub."u8];
        Assert.Contains("no end", Refusal(self, Program));
    }

    /// <summary>A thousand children, each the module itself, which would be 64 thousand long names before the depth ends it.</summary>
    [Fact]
    public void AModuleThatHoldsItselfManyTimesEndsSoon()
    {
        byte[] self = [.. "c__torch__.a\nB\n)"u8, 0x81, .. "q\0}("u8,
            .. Enumerable.Range(0, 200_000).SelectMany(i => (byte[])[.. Text($"{i}"), .. "h\0"u8]), .. "ub."u8];
        Assert.Contains("no end", Refusal(self, Program));
    }

    /// <summary>What a module registers without keeping it is in no state dict.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void BuffersThatAreNotKeptAreNotRead(bool asCall)
    {
        byte[] names = [.. "("u8, .. Text("seen"), (byte)'l'];
        byte[] set = asCall ? [.. "c__builtin__\nset\n"u8, .. names, 0x85, (byte)'R'] : [0x8f, .. "("u8, .. Text("seen"), 0x90];
        byte[] module = [.. "ctorch.nn.modules.module\nModule\n)"u8, 0x81, .. "}("u8, .. Text("_parameters"), .. Dictionary(Tensor("w", 0, [8], [1]))[..^1],
            .. Text("_buffers"), .. Dictionary(Tensor("kept", 0, [8], [1]), Tensor("seen", 0, [8], [1]))[..^1],
            .. Text("_non_persistent_buffers_set"), .. set, .. "ub."u8];
        Assert.Equal(["kept", "w"], Read(module).Arrays.Keys.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void RefusesTwoTensorsOfOneName() => Assert.Contains("'a.b'", Refusal(
        [.. Module(Tensor("a.b", 0, [1], [1]), [.. Text("a"), .. Module(Tensor("b", 0, [1], [1]))]), (byte)'.'], Program));

    /// <summary>The archive that torch.jit.save makes of a small module.</summary>
    [Fact]
    public void ReadsAScriptedModule()
    {
        Checkpoint read = CheckpointFile.Read(FormatFiles.Golden("scripted.pt"));
        Assert.Equal(["halves", "inner.0.bias", "inner.0.weight", "scale"], read.Arrays.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(FormatFiles.Ramp(6), read["inner.0.weight"].Data);
        Assert.Equal([2, 3], read["inner.0.weight"].Shape);
        Assert.Equal(FormatFiles.Ramp(4), read["halves"].Data);
    }

    [Fact]
    public void RefusesAListAtTheTop() => Assert.Contains("no dictionary", Refusal([.. "]."u8]));

    [Fact]
    public void ADictionaryThatHoldsItselfEnds() =>
        Assert.Contains("no state dict", Refusal([.. "}q\0("u8, .. Text("model"), .. "h\0"u8, .. Text("net"), .. "h\0u."u8]));

    [Fact]
    public void WeightsInTheOnlyDictionaryOfTensorsAreFound()
    {
        byte[] inner = Dictionary(Tensor("w", 0, [8], [1]))[..^1];
        Checkpoint read = Read([.. "}("u8, .. Text("epoch"), .. "K\u0003"u8, .. Text("weights"), .. inner, .. "u."u8]);
        Assert.Equal(["w"], read.Arrays.Keys);
    }

    [Fact]
    public void TwoOfThemAreNotGuessedBetween()
    {
        byte[] inner = Dictionary(Tensor("w", 0, [8], [1]))[..^1];
        string message = Refusal([.. "}("u8, .. Text("teacher"), .. inner, .. Text("student"), .. inner, .. "u."u8]);
        Assert.Contains("'teacher', 'student'", message);
    }

    private static byte[] Dictionary(params byte[][] tensors) => [.. "}("u8, .. tensors.SelectMany(t => t), .. "u."u8];

    /// <summary>'name': _rebuild_tensor_v2(storage, offset, shape, strides, False, {}).</summary>
    private static byte[] Tensor(string name, int offset, int[] shape, int[] strides, string key = "0", int count = 8) =>
    [
        .. Text(name), .. "ctorch._utils\n_rebuild_tensor_v2\n(("u8, .. Text("storage"), .. "ctorch\nFloatStorage\n"u8,
        .. Text(key), .. Text("cpu"), .. Int(count), .. "tQ"u8, .. Int(offset), (byte)'(', .. shape.SelectMany(Int), .. "t("u8,
        .. strides.SelectMany(Int), (byte)'t', 0x89, .. "}tR"u8,
    ];

    private static (string, byte[]) Program => ("x/code/m.py", "x = 1"u8.ToArray());

    /// <summary>An object of a class of TorchScript's with attributes.</summary>
    private static byte[] Module(params byte[][] attributes) =>
        [.. "c__torch__.a\nB\n)"u8, 0x81, .. "}("u8, .. attributes.SelectMany(a => a), .. "ub"u8];

    private static byte[] Int(int value) => [(byte)'J', .. BitConverter.GetBytes(value)];

    private static byte[] Text(string text) =>
        [(byte)'X', .. BitConverter.GetBytes(text.Length), .. Encoding.ASCII.GetBytes(text)];

    private static string Refusal(byte[] pickle, params (string Name, byte[] Content)[] others) =>
        Refusal(CompressionLevel.NoCompression, pickle, others);

    private static string Refusal(CompressionLevel level, byte[] pickle, params (string Name, byte[] Content)[] others)
    {
        byte[] file = Archive(level, pickle, others);
        long before = GC.GetAllocatedBytesForCurrentThread();
        string message = Assert.Throws<EspalierException>(() => CheckpointFile.Read(new MemoryStream(file), "file")).Message;
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < (50 << 20) + 50L * pickle.Length);
        return message;
    }

    private static Checkpoint Read(byte[] pickle, params (string Name, byte[] Content)[] others) =>
        CheckpointFile.Read(new MemoryStream(Archive(CompressionLevel.NoCompression, pickle, others)), "file");

    private static byte[] Archive(CompressionLevel level, byte[] pickle, (string Name, byte[] Content)[] others)
    {
        using var file = new MemoryStream();
        using (var zip = new ZipArchive(file, ZipArchiveMode.Create, leaveOpen: true))
        {
            byte[] values = [.. Enumerable.Range(0, 8).SelectMany(i => BitConverter.GetBytes((float)i))];
            foreach ((string name, byte[] bytes) in others.Prepend(("x/data/0", values)).Prepend(("x/data.pkl", pickle)))
            {
                using Stream content = zip.CreateEntry(name, level).Open();
                content.Write(bytes);
            }
        }
        return file.ToArray();
    }
}
