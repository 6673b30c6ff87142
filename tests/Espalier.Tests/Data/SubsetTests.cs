using Espalier.Data;

namespace Espalier.Tests.Data;

public class SubsetTests
{
    [Fact]
    public void TailOfEachClassIsHeldOutInOrder()
    {
        var dataset = new FakeDataset(31, classes: 3);          // 11, 10, 10 pictures
        var (kept, heldOut) = Subset.HoldOutTail(dataset, 0.2);
        Assert.Equal([25, 26, 27, 28, 29, 30], Numbers(dataset, heldOut));
        Assert.Equal(Enumerable.Range(0, 25), Numbers(dataset, kept));
        Assert.Equal(3, heldOut.Classes);
    }

    [Fact]
    public void EveryClassKeepsOneAndGivesOneWhereItCan()
    {
        var (kept, heldOut) = Subset.HoldOutTail(new FakeDataset(5, classes: 3), 0.01);      // 2, 2, 1 pictures
        Assert.Equal([0, 1, 2], Labels(kept));
        Assert.Equal([0, 1], Labels(heldOut));
        Assert.Throws<ArgumentOutOfRangeException>(() => Subset.HoldOutTail(kept, 1));
    }

    [Fact]
    public void IndicesOutsideAreRefused() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new Subset(new FakeDataset(3), [0, 3]));

    [Fact]
    public void FirstTakesNoMoreThanThereAre()
    {
        Assert.Equal(2, Subset.First(new FakeDataset(5), 2).Count);
        Assert.Equal(5, Subset.First(new FakeDataset(5), 9).Count);
    }

    /// <summary>Pictures of a folder lie class by class.</summary>
    [Fact]
    public void SomeOfSortedPicturesAreOfAllClasses()
    {
        var mixed = new FakeDataset(9, classes: 3);
        var sorted = new Subset(mixed, [0, 3, 6, 1, 4, 7, 2, 5, 8]);
        Assert.Equal([0, 1, 2], Labels(Subset.Some(sorted, 3)));
        Assert.Equal([0, 0, 1, 1, 2], Labels(Subset.Some(sorted, 5)));
        Assert.Equal([0, 1, 2, 0], Labels(Subset.Some(mixed, 4)));
        Assert.Equal(9, Subset.Some(sorted, 20).Count);
        Assert.Equal(0, Subset.Some(new FakeDataset(0), 4).Count);
    }

    private static int[] Labels(IImageDataset d) => [.. Enumerable.Range(0, d.Count).Select(d.Label)];

    // FakeDataset's first pixel is 31 times the picture's number.
    private static int[] Numbers(FakeDataset source, IImageDataset d) => [.. Enumerable.Range(0, d.Count).Select(i =>
        Enumerable.Range(0, source.Count).Single(n => source.ReadImage(n).Pixels.SequenceEqual(d.ReadImage(i).Pixels)))];
}
