namespace Espalier.Tensors;

/// <summary>
/// Which rows of a packed batch of tokens belong to which image, and which token of its image each row is: image b owns rows
/// <c>[b]</c> to <c>[b + 1] - 1</c>. Images may have different numbers of rows; nothing is padded.
/// </summary>
public sealed class RowSet : IEquatable<RowSet>
{
    private readonly int[] starts;
    private int[]? tokens;

    private RowSet(int[] starts, int[]? tokens = null)
    {
        (this.starts, this.tokens) = (starts, tokens);
        for (int b = 0; b < Images; b++) MaxLength = Math.Max(MaxLength, Length(b));
    }

    /// <summary>Whether it is known which tokens the rows are; not in examples, where only their numbers are.</summary>
    internal bool KnowsTokens { get; private init; } = true;

    /// <summary>Whether the rows of an image are in the order of their tokens; not where some were merged.</summary>
    public bool InOrder { get; private init; } = true;

    /// <summary>Number of images.</summary>
    public int Images => starts.Length - 1;

    /// <summary>Number of rows of all images.</summary>
    public int Rows => starts[^1];

    /// <summary>Rows of the longest image.</summary>
    public int MaxLength { get; }

    /// <summary>Whether every image has as many rows.</summary>
    public bool IsUniform => (long)MaxLength * Images == Rows;

    /// <summary>[images + 1] first rows, the last entry being the number of rows.</summary>
    public ReadOnlySpan<int> Starts => starts;

    /// <summary>[rows] which token of its image each row is, counted from 0 before anything was dropped.</summary>
    public ReadOnlySpan<int> Tokens => tokens ??= AllTokens();

    /// <summary>First row of an image.</summary>
    public int this[int image] => starts[image];

    /// <summary>Number of rows of an image.</summary>
    public int Length(int image) => starts[image + 1] - starts[image];

    /// <summary>Every image has <paramref name="length"/> rows.</summary>
    public static RowSet Uniform(int images, int length)
    {
        var starts = new int[images + 1];
        for (int b = 1; b <= images; b++) starts[b] = checked(b * length);
        return new RowSet(starts);
    }

    public static RowSet FromLengths(ReadOnlySpan<int> lengths)
    {
        var starts = new int[lengths.Length + 1];
        for (int b = 0; b < lengths.Length; b++)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(lengths[b]);
            starts[b + 1] = checked(starts[b] + lengths[b]);
        }
        return new RowSet(starts);
    }

    /// <summary>Rows of which only their numbers are known.</summary>
    internal static RowSet Counts(ReadOnlySpan<int> lengths, bool inOrder = true)
    {
        RowSet counted = FromLengths(lengths);
        return new RowSet(counted.starts) { KnowsTokens = false, InOrder = inOrder };
    }

    /// <summary>Rows whose tokens are given, in any order.</summary>
    internal static RowSet Mixed(ReadOnlySpan<int> lengths, int[] tokens) =>
        new(FromLengths(lengths).starts, tokens) { InOrder = false };

    /// <summary>Rows whose tokens are given.</summary>
    internal static RowSet Of(ReadOnlySpan<int> lengths, int[] tokens)
    {
        int[] starts = FromLengths(lengths).starts;
        bool rising = true;
        for (int b = 0; b < lengths.Length; b++)
            for (int row = starts[b] + 1; row < starts[b + 1]; row++) rising &= tokens[row] > tokens[row - 1];
        return new RowSet(starts, tokens) { InOrder = rising };
    }

    /// <summary>The images of <paramref name="first"/> followed by those of <paramref name="second"/>.</summary>
    public static RowSet Concat(RowSet first, RowSet second)
    {
        var starts = new int[first.starts.Length + second.Images];
        first.starts.CopyTo(starts, 0);
        for (int b = 1; b <= second.Images; b++) starts[first.Images + b] = first.Rows + second.starts[b];
        return new RowSet(starts, [.. first.Tokens, .. second.Tokens])
        {
            KnowsTokens = first.KnowsTokens && second.KnowsTokens, InOrder = first.InOrder && second.InOrder,
        };
    }

    /// <summary>What is left where only some rows stay.</summary>
    /// <param name="rows">Their numbers, rising.</param>
    public RowSet Keep(ReadOnlySpan<int> rows)
    {
        var left = new int[starts.Length];
        var kept = new int[rows.Length];
        int image = 0, before = -1;
        for (int i = 0; i < rows.Length; i++)
        {
            if (rows[i] <= before || rows[i] >= Rows) throw new ArgumentException($"row {rows[i]} after row {before} of {Rows} rows");
            before = rows[i];
            while (rows[i] >= starts[image + 1]) left[++image] = i;
            kept[i] = Tokens[rows[i]];
        }
        while (image < Images) left[++image] = rows.Length;
        return new RowSet(left, kept) { KnowsTokens = KnowsTokens, InOrder = InOrder };
    }

    /// <summary>The numbers of rows <paramref name="start"/> to start + count - 1 of each image; a start below 0 counts from its
    /// end.</summary>
    /// <exception cref="ArgumentException">An image has fewer rows.</exception>
    public int[] RowsOfEach(int start, int count)
    {
        var rows = new int[checked(Images * count)];
        for (int b = 0; b < Images; b++)
        {
            int first = start < 0 ? Length(b) + start : start;
            if (first < 0 || count < 0 || first + (long)count > Length(b))
                throw new ArgumentException($"rows {start} to {start + (long)count - 1} of image {b}, which has {Length(b)} rows");
            for (int i = 0; i < count; i++) rows[b * count + i] = starts[b] + first + i;
        }
        return rows;
    }

    /// <summary>Whether both have the same rows of the same images.</summary>
    public bool Equals(RowSet? other) =>
        other is not null && (other == this || (starts.AsSpan().SequenceEqual(other.starts) && Tokens.SequenceEqual(other.Tokens)));

    public override bool Equals(object? obj) => Equals(obj as RowSet);

    public override int GetHashCode() => HashCode.Combine(Images, Rows, MaxLength);

    private int[] AllTokens()
    {
        var all = new int[Rows];
        for (int b = 0; b < Images; b++)
            for (int row = starts[b]; row < starts[b + 1]; row++) all[row] = row - starts[b];
        return all;
    }
}
