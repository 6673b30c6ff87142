using Espalier.Imaging;

namespace Espalier.Data;

/// <summary>Some pictures of another data set, in the order given.</summary>
public sealed class Subset : IImageDataset
{
    private readonly IImageDataset source;
    private readonly int[] indices;

    /// <param name="indices">Numbers in <paramref name="source"/>; copied.</param>
    public Subset(IImageDataset source, ReadOnlySpan<int> indices, string? name = null)
    {
        foreach (int index in indices)
            if ((uint)index >= (uint)source.Count)
                throw new ArgumentOutOfRangeException(nameof(indices),
                    $"{index} is not a picture of {source.Name} ({source.Count})");
        this.source = source;
        this.indices = indices.ToArray();
        Name = name ?? source.Name;
    }

    public string Name { get; }

    public int Count => indices.Length;

    public int Classes => source.Classes;

    public IReadOnlyList<string> ClassNames => source.ClassNames;

    public Image ReadImage(int index) => source.ReadImage(indices[index]);

    public int Label(int index) => source.Label(indices[index]);

    public string? FileOf(int index) => source.FileOf(indices[index]);

    public bool Skip(int index, EspalierException why) => source.Skip(indices[index], why);

    /// <summary>The first <paramref name="count"/> pictures, or all where there are fewer.</summary>
    public static Subset First(IImageDataset source, int count) =>
        new(source, Enumerable.Range(0, Math.Clamp(count, 0, source.Count)).ToArray());

    /// <summary>So many pictures that stand for all, or all where there are fewer: the first ones, and where pictures lie sorted by
    /// their classes, as those of folders do, some of every part in even steps.</summary>
    public static Subset Some(IImageDataset source, int count)
    {
        count = Math.Clamp(count, 0, source.Count);
        for (int i = 1; i < source.Count; i++)
            if (source.Label(i) < source.Label(i - 1)) return First(source, count);
        return new(source, Enumerable.Range(0, count).Select(i => (int)((long)i * source.Count / count)).ToArray());
    }

    /// <summary>
    /// Splits off the last share of each class's pictures (rounded to the nearest number, and at least one of a class that
    /// has two); both parts keep the order. No randomness: the same data set always gives the same split.
    /// </summary>
    /// <param name="fraction">Share held out, above 0 and below 1.</param>
    public static (IImageDataset Kept, IImageDataset HeldOut) HoldOutTail(IImageDataset dataset, double fraction)
    {
        if (fraction is not (> 0 and < 1))
            throw new ArgumentOutOfRangeException(nameof(fraction), fraction, "the share held out is above 0 and below 1");
        int[] left = new int[dataset.Classes];
        for (int i = 0; i < dataset.Count; i++) left[dataset.Label(i)]++;
        for (int c = 0; c < left.Length; c++)
        {
            int held = (int)Math.Round(left[c] * fraction, MidpointRounding.AwayFromZero);
            left[c] -= left[c] < 2 ? 0 : Math.Clamp(held, 1, left[c] - 1);
        }
        var kept = new List<int>();
        var heldOut = new List<int>();
        for (int i = 0; i < dataset.Count; i++) (left[dataset.Label(i)]-- > 0 ? kept : heldOut).Add(i);
        return (new Subset(dataset, kept.ToArray()), new Subset(dataset, heldOut.ToArray()));
    }
}
