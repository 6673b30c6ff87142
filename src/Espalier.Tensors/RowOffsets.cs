namespace Espalier.Tensors;

/// <summary>
/// Which rows of a packed batch belong to which image: image b owns rows <c>[b]</c> to <c>[b + 1] - 1</c>. Images may have
/// different numbers of rows; nothing is padded.
/// </summary>
public sealed class RowOffsets
{
    private readonly int[] starts;

    private RowOffsets(int[] starts)
    {
        this.starts = starts;
        for (int b = 0; b < Images; b++) MaxLength = Math.Max(MaxLength, Length(b));
    }

    /// <summary>Number of images.</summary>
    public int Images => starts.Length - 1;

    /// <summary>Number of rows of all images.</summary>
    public int Rows => starts[^1];

    /// <summary>Rows of the longest image.</summary>
    public int MaxLength { get; }

    /// <summary>[images + 1] first rows, the last entry being the number of rows.</summary>
    public ReadOnlySpan<int> Starts => starts;

    /// <summary>First row of an image.</summary>
    public int this[int image] => starts[image];

    /// <summary>Number of rows of an image.</summary>
    public int Length(int image) => starts[image + 1] - starts[image];

    /// <summary>Every image has <paramref name="length"/> rows.</summary>
    public static RowOffsets Uniform(int images, int length)
    {
        var starts = new int[images + 1];
        for (int b = 1; b <= images; b++) starts[b] = checked(b * length);
        return new RowOffsets(starts);
    }

    public static RowOffsets FromLengths(ReadOnlySpan<int> lengths)
    {
        var starts = new int[lengths.Length + 1];
        for (int b = 0; b < lengths.Length; b++)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(lengths[b]);
            starts[b + 1] = checked(starts[b] + lengths[b]);
        }
        return new RowOffsets(starts);
    }

    /// <summary>The images of <paramref name="first"/> followed by those of <paramref name="second"/>.</summary>
    public static RowOffsets Concat(RowOffsets first, RowOffsets second)
    {
        var starts = new int[first.starts.Length + second.Images];
        first.starts.CopyTo(starts, 0);
        for (int b = 1; b <= second.Images; b++) starts[first.Images + b] = first.Rows + second.starts[b];
        return new RowOffsets(starts);
    }
}
