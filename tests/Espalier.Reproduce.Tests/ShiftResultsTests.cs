using Espalier.Cli;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Imaging;

namespace Espalier.Reproduce.Tests;

public sealed class ShiftResultsTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData(1, 0, "0 1 2 0 4 5")]
    [InlineData(-1, 0, "2 3 0 5 6 0")]
    [InlineData(0, 1, "0 0 0 1 2 3")]
    [InlineData(0, -1, "4 5 6 0 0 0")]
    [InlineData(2, -1, "0 0 4 0 0 0")]
    [InlineData(9, 0, "0 0 0 0 0 0")]
    public void Pictures_move_over_black(int right, int down, string pixels)
    {
        var moved = new ShiftedImages(new One(new Image(3, 2, 1, [1, 2, 3, 4, 5, 6])), right, down);
        Assert.Equal(pixels, string.Join(' ', moved.ReadImage(0).Pixels));
        Assert.Equal((1, 7), (moved.Count, moved.Label(0)));
    }

    [Fact]
    public void Colours_stay_together() => Assert.Equal([0, 0, 0, 1, 2, 3], new ShiftedImages(new One(
        new Image(2, 1, 3, [1, 2, 3, 4, 5, 6])), 1, 0).ReadImage(0).Pixels);

    /// <summary>From finished runs to the part of the page, as small as it gets.</summary>
    [Fact]
    public void Finished_runs_are_measured_on_moved_images()
    {
        var said = new StringWriter();
        var context = new CommandContext(new Terminal(said, TextWriter.Null, false, 200), default);
        DatasetPair pair = Datasets.OpenSample();
        var runs = new NetworkRuns(context, folder, pair with { Test = Subset.First(pair.Test, 50) }, 28);
        var results = new ShiftResults(context, runs, [0.5], [1]);
        Assert.False(results.Any);
        Assert.Contains("no finished run of patch-slimming", Assert.Throws<EspalierException>(results.Part).Message);
        runs.Do(ComparisonRuns.Name(ComparisonRuns.Whole, 1, 1), () => runs.New("vit-tiny-28", 1, 1), new CompressionOptions(), _ => { });
        runs.Do(ComparisonRuns.Name("patch-slimming", 0.5, 1), () => runs.New("vit-tiny-28", 1, 1),
            CompressionMethods.Get("patch-slimming").Set("tune", "0").Set("epsilon", "1") with { RankBatches = 1 }, job => job.Run());
        Assert.InRange(runs.Record(ComparisonRuns.Name("patch-slimming", 0.5, 1))!.Findings![CompressionJob.MaskedDifference], 0, 1e-4);
        string part = results.Part();
        Assert.StartsWith(ShiftResults.Heading + "\n", part);
        Assert.Matches(@"\n\| whole network, trained on \| 1 \| [\d.]+ \| [\d.]+ \([+-][\d.]+\) \| [\d.]+ \([+-][\d.]+\) \|", part);
        // Without the tokens that it drops, as its run was measured.
        double accuracy = runs.Record(ComparisonRuns.Name("patch-slimming", 0.5, 1))!.Accuracy;
        Assert.Contains(FormattableString.Invariant($"\n| Patch Slimming | 0.5 | {100 * accuracy:0.00} | "), part);
        Assert.DoesNotContain("random tokens |", part);
    }

    private sealed class One(Image image) : IImageDataset
    {
        public string Name => "one";

        public int Count => 1;

        public int Classes => 10;

        public IReadOnlyList<string> ClassNames => [];

        public Image ReadImage(int index) => image;

        public int Label(int index) => 7;
    }
}
