using System.Buffers.Binary;
using System.Text;
using Espalier.Formats;
using static Espalier.Tests.Formats.FormatFiles;

namespace Espalier.Tests.Formats;

public sealed class SafetensorsTests
{
    [Fact]
    public void ReadsEveryTypeOfAFileMadeByHand()
    {
        Checkpoint read = CheckpointFile.Read(Golden("by_hand.safetensors"));
        Assert.Equal(["f32", "f16", "bf16", "i64", "i32", "u8", "bool"], read.Arrays.Keys);
        Assert.Equal([1.5f, -2f], read["f32"].Data);
        Assert.Equal([0.5f, 65504f], read["f16"].Data);
        Assert.Equal([1f, -2f], read["bf16"].Data);
        Assert.Equal([1, 2], read["bf16"].Shape);
        Assert.Equal([1099511627776f, -1f], read["i64"].Data);
        Assert.Equal([7f, -7f], read["i32"].Data);
        Assert.Equal([0f, 255f], read["u8"].Data);
        Assert.Equal([1f, 0f], read["bool"].Data);
        Assert.Equal("grün", read.Metadata["note"]);
    }

    [Fact]
    public void WritesExactlyTheBytesOfTheFormat()
    {
        using var folder = new TemporaryFolder();
        Safetensors.Write(folder["x"], [new NamedArray("w", [1, 2], [1f, -2f])], new Dictionary<string, string> { ["k"] = "v" });
        byte[] bytes = File.ReadAllBytes(folder["x"]);
        const string json = """{"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}""";
        int length = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        Assert.Equal(0, length % 8);
        Assert.Equal(json.PadRight(length), Encoding.UTF8.GetString(bytes, 8, length));
        Assert.Equal([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], bytes[(8 + length)..]);
    }

    /// <summary>Its length, 19280, is written as bytes that zip files begin with.</summary>
    [Fact]
    public void AHeaderWhoseLengthReadsPkIsNoZipFile()
    {
        using var folder = new TemporaryFolder();
        byte[] first = Write(note: "");
        byte[] bytes = Write(note: new string('x', 0x4b50 - (int)BinaryPrimitives.ReadInt64LittleEndian(first)));
        Assert.Equal("PK"u8, bytes.AsSpan(0, 2));
        Assert.Equal([1f, -2f], CheckpointFile.Read(folder["x"])["w"].Data);
        using SafetensorsReader? reader = CheckpointFile.OpenSafetensors(folder["x"]);
        Assert.NotNull(reader);

        byte[] Write(string note)
        {
            Safetensors.Write(folder["x"], [new NamedArray("w", [2], [1f, -2f])], new Dictionary<string, string> { ["k"] = note });
            return File.ReadAllBytes(folder["x"]);
        }
    }

    [Fact]
    public void KeepsTypesAndBytesOfTrainingState()
    {
        using var folder = new TemporaryFolder();
        Safetensors.Write(folder["x"],
        [
            SafetensorsEntry.FromBytes("bytes", new byte[] { 1, 2, 3 }),
            SafetensorsEntry.FromFloats("weights", [2], new[] { 1f, 2f }),
            SafetensorsEntry.FromLongs("state", new[] { long.MinValue, 5 }),
            new SafetensorsEntry("streamed", ElementType.U8, [2], stream => stream.Write([8, 9])),
        ]);
        using SafetensorsReader reader = SafetensorsReader.Open(folder["x"]);
        Assert.Equal(["state", "weights", "bytes", "streamed"], reader.Entries.Keys);    // the widest first: all are aligned
        Assert.Equal([long.MinValue, 5], reader.ReadLongs("state"));
        Assert.Equal([1, 2, 3], reader.ReadBytes("bytes"));
        Assert.Equal([8, 9], reader.ReadBytes("streamed"));
        float[] weights = new float[2];
        reader.ReadFloats("weights", weights);
        Assert.Equal([1f, 2f], weights);
        Assert.Throws<EspalierException>(() => reader.ReadLongs("bytes"));
        Assert.Throws<EspalierException>(() => reader.ReadFloats("weights", new float[3]));
        Assert.Throws<EspalierException>(() => reader.ReadBytes("nothing"));
    }

    [Fact]
    public void AnEntryThatWritesTooLittleLeavesTheOldFile()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["x"], "old");
        Assert.Throws<InvalidOperationException>(() =>
            Safetensors.Write(folder["x"], [new SafetensorsEntry("short", ElementType.F32, [2], stream => stream.Write([1]))]));
        Assert.Equal("old", File.ReadAllText(folder["x"]));
        Assert.Equal(["x"], folder.Names);
    }
}
