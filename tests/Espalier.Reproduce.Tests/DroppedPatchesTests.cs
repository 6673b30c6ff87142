using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Imaging;

namespace Espalier.Reproduce.Tests;

public sealed class DroppedPatchesTests
{
    /// <summary>Two patches a side of two pixels; one image shows something in its first patch, the other in its last two.</summary>
    [Fact]
    public void Empty_patches_and_others_are_counted_by_class()
    {
        var dropped = new DroppedPatches(new TwoImages(), grid: 2, prefix: 1);
        dropped.Add(Result(0, label: 0, [0, 1]));
        dropped.Add(Result(1, label: 1, [0, 2, 4]));

        Assert.Equal((1, 3, 1, 3, 0, 1.0), Of(dropped.ByClass[0]));
        Assert.Equal((1, 2, 2, 1, 1, 2.0), Of(dropped.ByClass[1]));
        Assert.Equal((2, 5, 3, 4, 1, 1.5), Of(dropped.All));

        string[] lines = DroppedPatches.Table([("half", dropped)]).TrimEnd().Split('\n');
        Assert.Equal("| class | empty patches | half: patches left | of the empty gone | of the others gone |", lines[0]);
        Assert.Equal("| bag | 75 % | 1.0 | 100 % | 0 % |", lines[2]);
        Assert.Equal("| all | 63 % | 1.5 | 80 % | 33 % |", lines[4]);
        Assert.All(lines, l => Assert.Equal(lines[0].Count(c => c == '|'), l.Count(c => c == '|')));
    }

    private static (int, int, int, int, int, double) Of(DroppedPatches.Counts c) =>
        (c.Images, c.Empty, c.Others, c.EmptyDropped, c.OthersDropped, c.Left);

    /// <summary>The first stage is what enters, and says nothing.</summary>
    private static ImageResult Result(int index, int label, int[] kept) => new(index, label, label, 0, [], [5, kept.Length], [[0, 1, 2, 3, 4], kept]);

    private sealed class TwoImages : IImageDataset
    {
        public string Name => "two";

        public int Count => 2;

        public int Classes => 2;

        public IReadOnlyList<string> ClassNames => ["bag", "boot"];

        public Image ReadImage(int index) => new(4, 4, 1, index == 0
            ? [0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
            : [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);

        public int Label(int index) => index;
    }
}
