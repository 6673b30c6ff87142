using Espalier.Formats;
using static Espalier.Tests.Formats.FormatFiles;

namespace Espalier.Tests.Formats;

public sealed class NpzTests
{
    [Theory]
    [InlineData("plain.npz")]
    [InlineData("packed.npz")]
    public void ReadsWhatNumpyWrites(string file)
    {
        Checkpoint read = CheckpointFile.Read(Golden(file));
        Assert.Equal(["f4", "f2", "f8", "i8", "b1", "u1", "scalar", "empty", "fortran", "dir/name"], read.Arrays.Keys);
        Assert.Equal([2, 3], read["f4"].Shape);
        Assert.Equal(Ramp(6), read["f4"].Data);
        Assert.Equal(Ramp(6), read["f2"].Data);
        Assert.Equal(Ramp(6), read["f8"].Data);
        Assert.Equal([0f, 1f, 2f, 3f, 4f, 5f], read["i8"].Data);
        Assert.Equal([1f, 0f], read["b1"].Data);
        Assert.Equal([250f, 251f, 252f, 253f, 254f, 255f], read["u1"].Data);
        Assert.Empty(read["scalar"].Shape);
        Assert.Equal([1.5f], read["scalar"].Data);
        Assert.Equal([0, 3], read["empty"].Shape);
        Assert.Equal([2, 3, 4], read["fortran"].Shape);
        Assert.Equal(Enumerable.Range(0, 24).Select(i => (float)i), read["fortran"].Data);
    }

    [Fact]
    public void ReadsZip64()
    {
        Checkpoint read = CheckpointFile.Read(Golden("zip64.npz"));
        Assert.Equal(Ramp(6), read["a"].Data);
        Assert.Equal(Ramp(3), read["b"].Data);
    }

    [Theory]
    [InlineData("objects.npz", "'|O'")]
    [InlineData("big_endian.npz", "big-endian")]
    public void RefusesOtherElements(string file, string part) =>
        Assert.Contains(part, Assert.Throws<EspalierException>(() => CheckpointFile.Read(Golden(file))).Message);

    [Fact]
    public void ReadsWhatItWrites()
    {
        using var folder = new TemporaryFolder();
        NamedArray[] arrays =
        [
            new("a/b", [2, 2], [1, float.NaN, float.NegativeInfinity, -0f]), new("scalar", [], [3]), new("empty", [0, 4], []),
            new("line", [3], [1, 2, 3]),
        ];
        Npz.Write(folder["x.npz"], arrays);
        Checkpoint read = CheckpointFile.Read(folder["x.npz"]);
        Assert.Equal(arrays.Select(a => a.Name), read.Arrays.Keys);
        foreach (NamedArray array in arrays)
        {
            Assert.Equal(array.Shape, read[array.Name].Shape);
            Assert.Equal(array.Data, read[array.Name].Data);
        }
        Assert.Equal(["x.npz"], folder.Names);
    }
}
