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
    [InlineData("train", "test")]
    [InlineData("train", "val")]
    [InlineData("train", "valid")]
    [InlineData("training", "validation")]
    [InlineData("train", "dev")]
    [InlineData("train", "eval")]
    [InlineData("Train", "Test")]
    [InlineData("TRAINING", "Testing")]
    public void SplitFoldersAreKnownByTheirUsualNames(string train, string test)
    {
        Picture($"{train}/cat/1.png", 1);
        Picture($"{train}/dog/1.png", 2, channels: 3);
        Picture($"{test}/dog/1.png", 3);
        DatasetPair pair = FolderDataset.Open(folder.Path);
        Assert.Equal((2, 1, 1), (pair.Train.Count, pair.Test.Count, pair.Test.Label(0)));
        Assert.Equal((2, 2, 3), (pair.Test.Classes, pair.Info.Classes, pair.Info.Channels));
        Assert.Null(pair.Validation);
        Assert.Empty(pair.Skipped.Files);
    }

    [Fact]
    public void WithThreeSplitsOneIsForChoosing()
    {
        for (byte i = 0; i < 4; i++) Picture($"train/a/{i}.png", i);
        Picture("val/a/1.png", 10);
        for (byte i = 0; i < 2; i++) Picture($"test/a/{i}.png", (byte)(20 + i));
        Picture("spare/a/1.png", 9);
        DatasetPair pair = FolderDataset.Open(folder.Path);
        Assert.Equal((4, 1, 2), (pair.Train.Count, pair.Validation!.Count, pair.Test.Count));
        Assert.Equal((10, 20), (pair.Validation.ReadImage(0).Pixels[0], pair.Test.ReadImage(0).Pixels[0]));
        SkippedFile spare = Assert.Single(pair.Skipped.Files);
        Assert.Equal((Path.Combine(folder.Path, "spare"), false), (spare.Path, spare.IsPicture));
    }

    [Fact]
    public void ClassesMayBeCalledLikeSplits()
    {
        foreach (string name in new[] { "train", "car", "test" })
            for (byte i = 0; i < 2; i++) Picture($"{name}/{i}.png", i);
        DatasetPair pair = FolderDataset.Open(folder.Path);
        Assert.Equal(["car", "test", "train"], pair.Train.ClassNames);
        Assert.Equal((3, 3), (pair.Train.Count, pair.Test.Count));
    }

    [Fact]
    public void AValidationSplitAloneIsForTestingOnly()
    {
        Picture("val/a/1.png", 1);
        Picture("val/b/1.png", 2);
        DatasetPair pair = FolderDataset.Open(folder.Path);
        Assert.Equal((0, 2, 2), (pair.Train.Count, pair.Test.Count, pair.Train.Classes));
    }

    [Fact]
    public void WhatSystemsLeaveInFoldersIsNoData()
    {
        for (byte i = 0; i < 5; i++) Picture($"cat/{i}.png", i);
        for (byte i = 0; i < 5; i++) Picture($"dog/sub/{i}.png", (byte)(50 + i));
        Picture("dog/9.png", 9);
        foreach (string junk in new[] { "cat/.hidden.png", "cat/.ipynb_checkpoints/0-checkpoint.png", ".ipynb_checkpoints/x.png",
            "__MACOSX/cat/1.png", "cat/__MACOSX/1.png", "@eaDir/1.png", "dog/@eaDir/1.png" })
            Picture(junk, 200);
        foreach (string file in new[]
            { "cat/._0.png", ".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "desktop.ini", "cat/images.zip" })
            folder.File(file, [0, 5, 0x16, 7]);
        DatasetPair pair = FolderDataset.Open(folder.Path);
        Assert.Equal(["cat", "dog"], pair.Train.ClassNames);
        Assert.Equal(11, pair.Train.Count + pair.Test.Count);
        for (int i = 0; i < pair.Train.Count; i++) Assert.NotEqual(200, pair.Train.ReadImage(i).Pixels[0]);
        Assert.Empty(pair.Skipped.Files);
    }

    [Fact]
    public void LinksToFilesAndClassesAreFollowedOthersAreNamed()
    {
        for (byte i = 0; i < 5; i++) Picture($"set/cat/{i}.png", i);
        for (byte i = 0; i < 5; i++) Picture($"elsewhere/{i}.png", (byte)(50 + i));
        Directory.CreateSymbolicLink(Path.Combine(folder.Path, "set/dog"), "../elsewhere");
        Directory.CreateSymbolicLink(Path.Combine(folder.Path, "set/cat/up"), "..");
        File.CreateSymbolicLink(Path.Combine(folder.Path, "set/cat/7.png"), "../dog/0.png");
        File.CreateSymbolicLink(Path.Combine(folder.Path, "set/cat/8.png"), "nowhere.png");
        File.CreateSymbolicLink(Path.Combine(folder.Path, "set/cat/9.png"), "9.png");
        string set = Path.Combine(folder.Path, "set");
        DatasetPair pair = FolderDataset.Open(set);
        Assert.Equal(11, pair.Train.Count + pair.Test.Count);
        Assert.Equal(50, pair.Test.ReadImage(0).Pixels[0]);
        Assert.Equal([("8.png", true), ("9.png", true), ("up", false)],
            pair.Skipped.Files.Select(f => (Path.GetFileName(f.Path), f.IsPicture)));
        Assert.Contains("leads to no file",
            Assert.Throws<EspalierException>(() => FolderDataset.Open(set, strict: true)).Message);
    }

    [Fact]
    public void PicturesOfKindsThatAreNotReadAreNamed()
    {
        for (byte i = 0; i < 4; i++) Picture($"a/{i}.png", i);
        folder.File("a/scan.TIF", File.ReadAllBytes(Golden.Path("other.tiff")));
        SkippedFile file = Assert.Single(FolderDataset.Open(folder.Path).Skipped.Files);
        Assert.Equal(Path.Combine(folder.Path, "a", "scan.TIF"), file.Path);
        Assert.Equal("TIF images are not read; convert them to PNG", file.Reason);
    }

    /// <summary>A folder whose first pictures are grey is not grey.</summary>
    [Theory]
    [InlineData("rgb-in.png", 3)]
    [InlineData("color.jpg", 3)]
    [InlineData("color.gif", 3)]
    [InlineData("gray.jpg", 1)]
    [InlineData("gray-alpha.png", 1)]
    public void OnePictureWithColoursMakesTheFolderOneOfColours(string file, int channels)
    {
        for (byte i = 0; i < 4; i++) Picture($"a/{i}.png", i);
        folder.File("a/2" + Path.GetExtension(file), File.ReadAllBytes(Golden.Path(file)));
        Assert.Equal(channels, FolderDataset.Open(folder.Path).Info.Channels);
    }

    [Fact]
    public void PicturesWithoutLabelsMayLieAnywhere()
    {
        Picture("b.png", 20);
        Picture("sub/deeper/a.png", 10);
        Picture("a.png", 30);
        FolderDataset data = FolderDataset.Unlabelled(folder.Path, out SkippedFiles skipped);
        Assert.Equal(["a.png", "b.png", "a.png"], Enumerable.Range(0, data.Count).Select(i => Path.GetFileName(data.FileOf(i))));
        Assert.Equal(0, data.Classes);
        Assert.Equal(10, data.ReadImage(2).Pixels[0]);
        Assert.Empty(skipped.Files);
        Assert.Throws<EspalierException>(() => FolderDataset.Unlabelled(Path.Combine(folder.Path, "no"), out _));
        Directory.CreateDirectory(Path.Combine(folder.Path, "empty"));
        Assert.Throws<EspalierException>(() => FolderDataset.Unlabelled(Path.Combine(folder.Path, "empty"), out _));
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
        Picture("Train/cat/1.png", 1);
        Assert.Contains("Train and train are the same split", Error(folder.Path));
        Assert.Contains("say which folder", Assert.Throws<EspalierException>(() => Datasets.Open("folder", null)).Message);
    }

    [Fact]
    public void AClassOfFoldersIsTheWrongFolder()
    {
        Picture("imgs/train/a/1.png", 1);
        Picture("imgs/val/a/1.png", 1);
        string message = Error(folder.Path);
        Assert.Contains("imgs holds only folders (train, ...) and no images; it must hold a folder of images a class", message);
        Assert.EndsWith($"Is {Path.Combine(folder.Path, "imgs")} meant?", message);
        Picture("other/b/1.png", 1);
        Assert.DoesNotContain("meant?", Error(folder.Path));
        Picture("flat/train/a/1.png", 1);
        Picture("flat/test/1.png", 1);
        Assert.Contains("test: no class folders", Error(Path.Combine(folder.Path, "flat")));
    }

    [Fact]
    public void ADamagedPictureIsLeftOutAndNamed()
    {
        for (byte i = 0; i < 5; i++) Picture($"a/{i}.png", (byte)(10 * i));
        string bad = folder.File("a/1.png", Png(new Image(5, 4, 1))[..40]);
        DatasetPair pair = FolderDataset.Open(folder.Path);
        Assert.Empty(pair.Skipped.Files);

        using var once = new DataLoader(pair.Train, ImagePipeline.Eval(4, 1), 3);
        Batch[] batches = [.. once.Once()];
        Assert.Equal([0, 2], batches[0].Indices);
        Assert.Equal([3], batches[1].Indices);
        Assert.Equal(20 / 127.5 - 1, batches[0].Pixels[16], 1e-6);
        SkippedFile skipped = Assert.Single(pair.Skipped.Files);
        Assert.Equal((bad, true), (skipped.Path, skipped.IsPicture));
        Assert.StartsWith("the PNG file is truncated", skipped.Reason);

        using var endless = new DataLoader(pair.Train, ImagePipeline.Eval(4, 1), 4);
        for (int epoch = 0; epoch < 2; epoch++) Assert.Equal([0, 2, 2, 3], endless.Next().Indices);
    }

    [Fact]
    public void StrictlyADamagedPictureIsAnError()
    {
        for (byte i = 0; i < 4; i++) Picture($"a/{i}.png", i);
        string bad = folder.File("a/2.png", Png(new Image(5, 4, 1))[..40]);
        var (train, _, info) = FolderDataset.Open(folder.Path, strict: true);
        using var loader = new DataLoader(train, ImagePipeline.Train(info, 4, 1), 3);
        Assert.StartsWith(bad, Assert.Throws<EspalierException>(() => loader.Next()).Message);
        Assert.StartsWith(bad, Assert.Throws<EspalierException>(() => loader.Once().Count()).Message);
    }

    [Fact]
    public void NothingButDamagedPicturesIsAnError()
    {
        for (byte i = 0; i < 4; i++) Picture($"a/{i}.png", i);
        DatasetPair pair = FolderDataset.Open(folder.Path);
        for (int i = 0; i < 4; i++) folder.File($"a/{i}.png", [1, 2, 3]);
        using var loader = new DataLoader(pair.Train, ImagePipeline.Eval(4, 1), 2);
        Assert.Contains("none of the 3 images can be read",
            Assert.Throws<EspalierException>(() => loader.Once().Count()).Message);
        Assert.Contains(".png", Assert.Throws<EspalierException>(() => loader.Next()).Message);
        Assert.Contains("all images", Error(folder.Path));
    }

    [Fact]
    public void AFolderIsFoundByItsPathAndByWhatItHolds()
    {
        for (byte i = 0; i < 4; i++) Picture($"a/{i}.png", i);
        Assert.Equal(3, Datasets.Open(folder.Path, null).Train.Count);
        Assert.Equal("folder", Datasets.In(folder.Path, "fashion-mnist"));
        Assert.Equal("fashion-mnist", Datasets.In(Path.Combine(AppContext.BaseDirectory, "Goldens", "Apt"), "cifar10"));
        Assert.Null(Datasets.In(Path.Combine(folder.Path, "a"), "cifar10"));
        Assert.Null(Datasets.In(Path.Combine(folder.Path, "no")));
    }

    private static string Error(string path) => Assert.Throws<EspalierException>(() => FolderDataset.Open(path)).Message;
}
