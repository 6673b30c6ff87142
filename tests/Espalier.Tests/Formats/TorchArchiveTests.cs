using System.Text.Json;
using Espalier.Formats;
using static Espalier.Tests.Formats.FormatFiles;

namespace Espalier.Tests.Formats;

public sealed class TorchArchiveTests
{
    [Theory]
    [InlineData("whole", new[] { 4, 6 }, new[] { 0f, .5f, 1f, 1.5f, 2f, 2.5f, 3f, 3.5f })]
    [InlineData("transposed", new[] { 6, 4 }, new[] { 0f, 3f, 6f, 9f, .5f, 3.5f, 6.5f, 9.5f })]
    [InlineData("rows", new[] { 2, 6 }, new[] { 3f, 3.5f, 4f, 4.5f, 5f, 5.5f, 6f, 6.5f })]
    [InlineData("columns", new[] { 4, 3 }, new[] { .5f, 1f, 1.5f, 3.5f, 4f, 4.5f, 6.5f, 7f })]
    [InlineData("every_second", new[] { 2, 2 }, new[] { 0f, 1.5f, 6f, 7.5f })]
    [InlineData("one", new int[0], new[] { 7.5f })]
    [InlineData("expanded", new[] { 3, 2 }, new[] { 7f, 7f, 7f, 7f, 7f, 7f })]
    [InlineData("empty", new[] { 0, 5 }, new float[0])]
    [InlineData("boolean", new[] { 3 }, new[] { 1f, 0f, 1f })]
    public void ViewsOfSharedStoragesAreMaterialised(string name, int[] shape, float[] start)
    {
        NamedArray array = CheckpointFile.Read(Golden("views.pth"))[name];
        Assert.Equal(shape, array.Shape);
        Assert.Equal(start, array.Data[..start.Length]);
        Assert.Equal(shape.Aggregate(1, (a, b) => a * b), array.Data.Length);
    }

    [Fact]
    public void ChannelsLastComesOutRowMajor() =>
        Assert.Equal(Ramp(24), CheckpointFile.Read(Golden("views.pth"))["channels_last"].Data);

    [Theory]
    [InlineData("float64")]
    [InlineData("float16")]
    [InlineData("bfloat16")]
    [InlineData("int64")]
    [InlineData("int32")]
    [InlineData("int16")]
    [InlineData("int8")]
    [InlineData("uint8")]
    public void EveryTypeBecomesFloat(string type) =>
        Assert.Equal([0f, 1f, 2f, 100f], CheckpointFile.Read(Golden("views.pth"))["dtype." + type].Data);

    [Fact]
    public void KeepsTheOrderOfTheFile() => Assert.Equal(["whole", "transposed", "rows", "columns"],
        CheckpointFile.Read(Golden("views.pth")).Arrays.Keys.Take(4));

    [Fact]
    public void FindsTheModelAmongWhatATrainingScriptSaves()
    {
        Checkpoint read = CheckpointFile.Read(Golden("nested.pth"));
        var expected = JsonSerializer.Deserialize<Dictionary<string, float[]>>(File.ReadAllText(Golden("nested.json")))!;
        Assert.Equal(expected.Keys, read.Arrays.Keys);
        foreach ((string name, float[] values) in expected) Assert.Equal(values, read[name].Data);
        Assert.Equal([2, 3], read["0.weight"].Shape);
    }

    [Theory]
    [InlineData("beside.pth")]
    [InlineData("deep.pth")]
    public void ALoneTensorHidesNoNetworkAndNeitherDoWrappersInWrappers(string file)
    {
        Checkpoint read = CheckpointFile.Read(Golden(file));
        Assert.Equal(["weight", "bias"], read.Arrays.Keys);
        Assert.Equal(Ramp(6), read["weight"].Data);
    }

    [Fact]
    public void OfTwoNetworksThatAreAlikeNoneIsTaken() => Assert.Contains("the keys at its top level are 'mine', 'yours'",
        Assert.Throws<EspalierException>(() => CheckpointFile.Read(Golden("two.pth"))).Message);

    [Fact]
    public void DropsThePrefixOfDataParallelAndReadsParameters()
    {
        Checkpoint read = CheckpointFile.Read(Golden("parallel.pt"));
        Assert.Equal(["weight", "bias"], read.Arrays.Keys);
        Assert.Equal(Ramp(6), read["weight"].Data);
    }

    [Theory]
    [InlineData("protocol4.pt")]
    [InlineData("protocol5.pt")]
    public void ReadsLaterPickleProtocols(string file) => Assert.Equal(Ramp(6), CheckpointFile.Read(Golden(file))["weight"].Data);

    [Theory]
    [InlineData("legacy.pth", "before 1.6")]
    [InlineData("module.pth", "'torch.nn.modules.container.Sequential'")]
    [InlineData("no_tensors.pth", "'epoch'")]
    [InlineData("evil_system.pth", "'posix.system'")]
    [InlineData("evil_eval.pth", "'builtins.eval'")]
    public void RefusesWithOneLineThatSaysWhy(string file, string part)
    {
        string message = Assert.Throws<EspalierException>(() => CheckpointFile.Read(Golden(file))).Message;
        Assert.StartsWith(Golden(file) + ": ", message);
        Assert.Contains(part, message);
        Assert.DoesNotContain('\n', message);
    }
}
