using Espalier.Data;
using Espalier.Imaging;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Data;

public sealed class FolderDatasetTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    private void Picture(string path, byte value, int channels = 1) =>
        folder.File(path, Png(new Image(5, 4, channels, [.. Enumerable.Repeat(value, 20 * channels)])));

    private static byte[] Png(Image image)
    {
        var stream = new MemoryStream();
        PngWriter.Write(stream, image);
        return stream.ToArray();
    }

    [Fact]
    public void ClassesAndFilesAreInOrdinalOrderAndTheTailIsHeldOut()
    {
        foreach (string name in new[] { "b", "B", "a" })
            for (byte i = 0; i < 5; i++) Picture($"{name}/{i}.png", (byte)(i + 10 * name[0]));
        folder.File("a/notes.txt", [1]);
        folder.File(".cache/x.png", [1]);
        folder.File("b/deep/z.JPG", File.ReadAllBytes(Golden.Path("gray.jpg")));
        var (train, test, info) = Datasets.Open("folder", folder.Path);
        Assert.Equal(["B", "a", "b"], train.ClassNames);
        Assert.Equal([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2], Enumerable.Range(0, train.Count).Select(train.Label));
        Assert.Equal([0, 1, 2], Enumerable.Range(0, test.Count).Select(test.Label));
        Assert.Equal(unchecked((byte)(4 + 10 * (int)'B')), test.ReadImage(0).Pixels[0]);
        Assert.Equal(37, test.ReadImage(2).Width);
        Assert.Equal(new DatasetInfo("folder", info.Description, 1, 4, 3), info);
    }

    [Theory]
    [InlineData("test")]
    [InlineData("val")]
    public void SplitFoldersAreUsedWhereThereAreBoth(string split)
    {
        Picture("train/cat/1.png", 1);
        Picture("train/dog/1.png", 2, channels: 3);
        Picture($"{split}/dog/1.png", 3);
        var (train, test, info) = FolderDataset.Open(folder.Path);
        Assert.Equal((2, 1, 1), (train.Count, test.Count, test.Label(0)));
        Assert.Equal((2, 2, 3), (test.Classes, info.Classes, info.Channels));
    }

    [Fact]
    public void WhatCannotWorkIsSaidAtOnce()
    {
        Assert.Contains("no such folder", Error(Path.Combine(folder.Path, "no")));
        Assert.Contains("no class folders", Error(folder.Path));
        Picture("train/cat/1.png", 1);
        Assert.Contains("leaves none for testing", Error(folder.Path));
        Picture("test/bird/1.png", 1);
        Assert.Contains("bird", Error(folder.Path));
        Directory.CreateDirectory(Path.Combine(folder.Path, "train", "empty"));
        Assert.Contains("empty", Error(folder.Path));
        Assert.Contains("say which folder", Assert.Throws<EspalierException>(() => Datasets.Open("folder", null)).Message);
    }

    [Fact]
    public void ADamagedPictureNamesItsFile()
    {
        for (byte i = 0; i < 4; i++) Picture($"a/{i}.png", i);
        folder.File("a/2.png", Png(new Image(5, 4, 1))[..40]);
        var (train, _, info) = FolderDataset.Open(folder.Path);
        using var loader = new DataLoader(train, ImagePipeline.Train(info, 4, 1), 3);
        Assert.StartsWith(Path.Combine(folder.Path, "a", "2.png"), Assert.Throws<EspalierException>(() => loader.Next()).Message);
    }

    private static string Error(string path) => Assert.Throws<EspalierException>(() => FolderDataset.Open(path)).Message;
}
