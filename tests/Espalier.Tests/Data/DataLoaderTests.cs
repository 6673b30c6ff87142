using Espalier.Data;

namespace Espalier.Tests.Data;

public class DataLoaderTests
{
    private static readonly DatasetInfo Info = new("cifar10", "", 1, 6, 3);

    private static DataLoader Loader(int threads, int prefetch = 2, bool shuffle = true, bool dropLast = true, int count = 50,
        ulong seed = 7) => new(new FakeDataset(count), ImagePipeline.Train(Info, 8, 1, Augmentation.RandomResizedCrop), 8,
            shuffle, seed, dropLast, threads, prefetch);

    private static string Print(Batch b)
    {
        string text = $"{string.Join(',', b.Indices)} {string.Join(',', b.Labels)} {string.Join(',', b.Pixels)}";
        b.Recycle();
        return text;
    }

    private static string[] Take(DataLoader loader, int batches) =>
        [.. Enumerable.Range(0, batches).Select(_ => Print(loader.Next()))];

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    [InlineData(4, 7)]
    public void BatchesDoNotDependOnThreads(int threads, int prefetch)
    {
        using var plain = Loader(0, 1);
        using var threaded = Loader(threads, prefetch);
        Assert.Equal(Take(plain, 20), Take(threaded, 20));
    }

    [Fact]
    public void SeedAndEpochChangeOrderAndCrops()
    {
        using var loader = Loader(2);
        using var other = Loader(2, seed: 8);
        string[] first = Take(loader, 6), second = Take(loader, 6);
        Assert.Empty(first.Intersect(second));
        Assert.Empty(first.Intersect(Take(other, 6)));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void PositionResumesTheRun(int threads)
    {
        using var loader = Loader(threads);
        Take(loader, 10);
        Assert.Equal(new LoaderPosition(1, 4), loader.Position);
        string[] expected = Take(loader, 9);

        using var resumed = Loader(threads);
        Take(resumed, 3);
        resumed.Position = new LoaderPosition(1, 4);
        Assert.Equal(expected, Take(resumed, 9));
        Assert.Throws<ArgumentOutOfRangeException>(() => resumed.Position = new LoaderPosition(0, 6));
    }

    [Fact]
    public void AnEpochHasEveryPictureOnce()
    {
        using var loader = Loader(2, dropLast: false);
        Assert.Equal(7, loader.BatchesPerEpoch);
        var seen = new List<int>();
        for (int i = 0; i < 7; i++)
        {
            var batch = loader.Next();
            Assert.Equal(i < 6 ? 8 : 2, batch.Count);
            Assert.Equal(batch.Count * 64, batch.Pixels.Length);
            seen.AddRange(batch.Indices);
            batch.Recycle();
        }
        Assert.Equal(Enumerable.Range(0, 50), seen.Order());
        Assert.NotEqual(Enumerable.Range(0, 50), seen);
        Assert.Equal(new LoaderPosition(1, 0), loader.Position);
    }

    [Fact]
    public void OncePassesInOrderAndLeavesThePosition()
    {
        using var loader = Loader(2, shuffle: false, dropLast: false);
        loader.Next().Recycle();
        for (int pass = 0; pass < 2; pass++)
            Assert.Equal(Enumerable.Range(0, 50), loader.Once().SelectMany(b => b.Indices));
        Assert.Equal(8, Assert.Single(loader.Once().Take(1)).Indices.Length);
        Assert.Equal(8, loader.Next().Indices[0]);
    }

    [Fact]
    public void RecycledBatchesAreUsedAgain()
    {
        using var loader = Loader(0, 1);
        var first = loader.Next();
        first.Recycle();
        first.Recycle();
        var second = loader.Next();
        Assert.Same(first, second);
        Assert.NotSame(second, loader.Next());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void ABrokenPictureIsReportedToTheCallerAndCanBeTriedAgain(int threads)
    {
        var dataset = new FakeDataset(20) { Broken = 9 };
        using var loader = new DataLoader(dataset, ImagePipeline.Eval(6, 1), 4, threads: threads);
        Take(loader, 2);
        Assert.Equal("9.png: damaged PNG file.", Assert.Throws<EspalierException>(() => loader.Next()).Message);
        Assert.Equal(new LoaderPosition(0, 2), loader.Position);
        dataset.Broken = null;
        Assert.Equal([8, 9, 10, 11], loader.Next().Indices);
    }

    [Fact]
    public void TooFewPicturesAreOneClearError()
    {
        Assert.Contains("smaller batch size", Assert.Throws<EspalierException>(() => Loader(0, count: 7)).Message);
        Assert.Throws<EspalierException>(() => Loader(0, count: 0));
    }

    [Fact]
    public void NothingIsGivenAfterDispose()
    {
        var loader = Loader(2);
        loader.Next();
        loader.Dispose();
        loader.Dispose();
        Assert.Throws<ObjectDisposedException>(() => loader.Next());
    }
}
