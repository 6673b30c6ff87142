namespace Espalier.Tensors;

/// <summary>How <see cref="KeepRowsOp"/> says from a score which rows stay.</summary>
public enum KeepBy
{
    /// <summary>All rows.</summary>
    All,

    /// <summary>Those with a score of at least a limit: as many as the image has.</summary>
    Limit,

    /// <summary>A share of each image's rows, those with the highest scores.</summary>
    Share,

    /// <summary>A number of each image's rows, those with the highest scores.</summary>
    Count,

    /// <summary>Tokens of a list, the same for every image.</summary>
    Tokens,
}

/// <summary>Which rows of an image stay. The rows of prefix tokens, which always do, are not counted in shares and
/// numbers.</summary>
public readonly record struct KeepRule
{
    private KeepRule(KeepBy by, float limit = 0, double share = 0, int count = 0, int[]? tokens = null) =>
        (By, Limit, ShareOfRows, Most, List) = (by, limit, share, count, tokens);

    public static KeepRule All => default;

    public KeepBy By { get; }

    internal float Limit { get; }

    internal double ShareOfRows { get; }

    internal int Most { get; }

    internal int[]? List { get; }

    /// <summary>A row stays unless its score is below <paramref name="limit"/>; one whose score is no number stays.</summary>
    public static KeepRule AtLeast(float limit) => float.IsNaN(limit)
        ? throw new ArgumentException("a limit of scores must be a number", nameof(limit)) : new(KeepBy.Limit, limit: limit);

    /// <summary>Of n rows the ceil(share · n) with the highest scores stay, the first of equals.</summary>
    /// <param name="share">Above 0, at most 1.</param>
    public static KeepRule Share(double share) => share is > 0 and <= 1 ? new(KeepBy.Share, share: share)
        : throw new ArgumentException($"the share of rows to keep must be above 0 and at most 1, not {share}", nameof(share));

    /// <summary>The <paramref name="count"/> rows with the highest scores stay, or all where there are fewer.</summary>
    public static KeepRule Count(int count) => count >= 0 ? new(KeepBy.Count, count: count)
        : throw new ArgumentException($"the number of rows to keep is {count}", nameof(count));

    /// <summary>The tokens of a list stay, whatever their scores.</summary>
    /// <param name="tokens">Numbers of tokens as <see cref="RowSet.Tokens"/> counts them, rising.</param>
    public static KeepRule Tokens(IEnumerable<int> tokens)
    {
        int[] list = [.. tokens];
        for (int i = 0; i < list.Length; i++)
            if (list[i] < 0 || (i > 0 && list[i] <= list[i - 1]))
                throw new ArgumentException("a list of tokens rises from 0 on", nameof(tokens));
        return new(KeepBy.Tokens, tokens: list);
    }

    /// <summary>Rows that stay of <paramref name="present"/> ones by their order; for shares and numbers. The small number makes
    /// 0.07 of 100 seven, not eight.</summary>
    public int Kept(int present) => By == KeepBy.Share ? (int)Math.Min(present, Math.Ceiling(ShareOfRows * present - 1e-9))
        : Math.Min(present, Most);

    internal void Save(OpSettings settings)
    {
        settings.Set("by", By);
        if (By == KeepBy.Limit) settings.Set("limit", Limit);
        else if (By == KeepBy.Share) settings.Set("share", (float)ShareOfRows);
        else if (By == KeepBy.Count) settings.Set("count", Most);
        else if (By == KeepBy.Tokens) settings.Set("tokens", List!);
    }

    internal static KeepRule Read(OpSettings settings) => settings.Word<KeepBy>("by") switch
    {
        KeepBy.Limit => AtLeast(settings.Float("limit")),
        // To the digits that a float was written with: 0.7 is not 0.699999988.
        KeepBy.Share => Share((double)(decimal)settings.Float("share")),
        KeepBy.Count => Count(settings.Int("count")),
        KeepBy.Tokens => Tokens(settings.Ints("tokens")),
        _ => All,
    };
}
