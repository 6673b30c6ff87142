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

    /// <summary>As torch.save wrote until version 1.6; torchvision's older files are of that kind.</summary>
    [Fact]
    public void ReadsWhatWasWrittenBeforeArchives()
    {
        Assert.Equal(Ramp(6), CheckpointFile.Read(Golden("legacy.pth"))["weight"].Data);
        Checkpoint views = CheckpointFile.Read(Golden("legacy_views.pth")), zipped = CheckpointFile.Read(Golden("views.pth"));
        Assert.Equal(zipped.Arrays.Keys, views.Arrays.Keys);
        foreach (NamedArray array in zipped.Arrays.Values)
        {
            Assert.Equal(array.Shape, views[array.Name].Shape);
            Assert.Equal(array.Data, views[array.Name].Data);
        }
    }

    /// <summary>As torch.save wrote until version 0.2, with a storage that is a part of another one.</summary>
    [Fact]
    public void ReadsWhatWasWrittenAsTar()
    {
        Checkpoint read = CheckpointFile.Read(Golden("before_0_2.pth"));
        Assert.Equal(["weight", "transposed", "rows", "bias", "double", "steps", "part"], read.Arrays.Keys);
        Assert.Equal(Ramp(24), read["weight"].Data);
        Assert.Equal([6, 4], read["transposed"].Shape);
        Assert.Equal([0, 3, 6, 9, 0.5f], read["transposed"].Data[..5]);
        Assert.Equal(Ramp(24)[6..18], read["rows"].Data);
        Assert.Equal(Ramp(2), read["bias"].Data);
        Assert.Equal(Ramp(3), read["double"].Data);
        Assert.Equal([1, 2, 100], read["steps"].Data);
        Assert.Equal(Ramp(6)[3..], read["part"].Data);
    }

    /// <summary>A module that was saved whole: its tensors under the names of its state dict, its class never looked up.</summary>
    [Fact]
    public void ReadsTheTensorsOfAWholeModule()
    {
        Checkpoint read = CheckpointFile.Read(Golden("module.pth")), expected = CheckpointFile.Read(Golden("nested.pth"));
        Assert.Equal(expected.Arrays.Keys.Order(), read.Arrays.Keys.Order());
        foreach (NamedArray array in expected.Arrays.Values) Assert.Equal(array.Data, read[array.Name].Data);
    }

    /// <summary>Paths, dates, settings of a class of the script's own, an optimiser's schedule: kept, never made.</summary>
    [Fact]
    public void ObjectsBesideTheTensorsAreInert() =>
        Assert.Equal(Ramp(6), CheckpointFile.Read(Golden("objects.pth"))["weight"].Data);

    [Fact]
    public void OfWeightsAndTheirAveragesTheCallerChoosesAndIsTold()
    {
        Checkpoint weights = CheckpointFile.Read(Golden("averages.pth"));
        Checkpoint averages = CheckpointFile.Read(Golden("averages.pth"), averaged: true);
        Assert.Equal(Ramp(6), weights["weight"].Data);
        Assert.Equal([.. Ramp(6).Select(x => -x)], averages["weight"].Data);
        Assert.Equal("averages of the weights, 'model_ema', are beside these and are not taken", weights.Note);
        Assert.Equal("the averages of the weights, 'model_ema'", averages.Note);
        Assert.Null(CheckpointFile.Read(Golden("beside.pth")).Note);
        foreach (string file in new[] { "beside.pth", "plain.npz", "by_hand.safetensors" })
            Assert.Contains("leave AveragedWeights out",
                Assert.Throws<EspalierException>(() => CheckpointFile.Read(Golden(file), averaged: true)).Message);
    }

    /// <summary>What people give in the place of a checkpoint, each with what to do.</summary>
    [Theory]
    [InlineData("<!DOCTYPE html><html><body>404", "a web page")]
    [InlineData("\n<html>", "a web page")]
    [InlineData("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull")]
    [InlineData("\u001f\u008b\b\0abcdefgh", "packed with gzip; unpack it first")]
    [InlineData("BZh91AY", "packed with bzip2")]
    [InlineData("\u00fd7zXZ\0", "packed with xz")]
    [InlineData("Rar!\u001a\u0007", "packed with RAR")]
    [InlineData("7z\u00bc\u00af\u0027\u001c", "packed with 7-Zip")]
    [InlineData("\u0089HDF\r\n\u001a\n", "HDF5")]
    [InlineData("\b\b\u0012\apytorch\u001a\u00051.13.", "a network in ONNX; give its name the ending .onnx")]
    [InlineData("\u0080\u0004\u0095\u0010\0\0\0\0\0\0\0}.", "a pickle that torch.save has not written")]
    [InlineData("{\"lr\": 0.1}", "a text in JSON")]
    [InlineData("GGUF\u0003\0\0\0", "GGUF")]
    [InlineData("", "is empty")]
    [InlineData("just some text", "not a checkpoint")]
    public void WhatIsNoCheckpointIsCalledWhatItIs(string content, string said)
    {
        var file = new MemoryStream(System.Text.Encoding.Latin1.GetBytes(content));
        Assert.Contains(said, Assert.Throws<EspalierException>(() => CheckpointFile.Read(file, "file")).Message);
    }

    [Fact]
    public void ATarArchiveIsCalledOne()
    {
        using var tar = new MemoryStream();
        using (var writer = new System.Formats.Tar.TarWriter(tar, System.Formats.Tar.TarEntryFormat.Ustar, leaveOpen: true))
            writer.WriteEntry(new System.Formats.Tar.UstarTarEntry(System.Formats.Tar.TarEntryType.RegularFile, "pickle"));
        Assert.Contains("a tar archive", Assert.Throws<EspalierException>(() => CheckpointFile.Read(tar, "file")).Message);
    }

    [Theory]
    [InlineData("protocol4.pt")]
    [InlineData("protocol5.pt")]
    public void ReadsLaterPickleProtocols(string file) => Assert.Equal(Ramp(6), CheckpointFile.Read(Golden(file))["weight"].Data);

    [Theory]
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
