using Espalier.Tensors.Kernels;

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

/// <summary>Which rows of an image stay. The rows of prefix tokens, which always do, are not counted in shares and numbers.</summary>
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
            if (list[i] < 0 || (i > 0 && list[i] <= list[i - 1])) throw new ArgumentException("a list of tokens rises from 0 on", nameof(tokens));
        return new(KeepBy.Tokens, tokens: list);
    }

    /// <summary>Rows that stay of <paramref name="present"/> ones by their order; for shares and numbers. The small number makes 0.07 of
    /// 100 seven, not eight.</summary>
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

/// <summary>
/// Keeps some rows of each image and drops the others for good: x [rows, D], score [rows] or [rows, 1] -> y [rows left, D], whose
/// row set is what is left of x's. A higher score stays rather. The gradient of x goes to the rows that stay, the score gets none.
/// </summary>
public sealed unsafe class KeepRowsOp : Op
{
    private readonly Tensor x, score;
    private readonly RowSet rows;
    private readonly int prefix;
    private int[] kept = [];

    /// <param name="prefix">Tokens below this number stay whatever the rule says: the class token.</param>
    public KeepRowsOp(Tensor x, Tensor score, KeepRule rule, int prefix) : base(x, score)
    {
        rows = x.Rows ?? throw new ArgumentException($"KeepRows: x {x.Shape} has no row set");
        if (x.Rank != 2 || score.Length != rows.Rows || score.Rank is not (1 or 2) || score.Shape[0] != rows.Rows)
            throw new ArgumentException($"KeepRows: x {x.Shape} and score {score.Shape} must be [rows, D] and [rows]");
        if (prefix < 0) throw new ArgumentException($"KeepRows: a prefix of {prefix} tokens");
        (this.x, this.score, Rule, this.prefix) = (x, score, rule, prefix);
    }

    public override string Name => "KeepRows";

    public KeepRule Rule { get; }

    /// <summary>Tokens that always stay.</summary>
    public int Prefix => prefix;

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * (2 * x.Length + score.Length));

    /// <summary>By the rule of the run, where it has one.</summary>
    public override Op On(Tensor?[] operands, RunContext run = default) =>
        new KeepRowsOp(operands[0]!, operands[1]!, run.Keep ?? Rule, prefix);

    protected override void Save(OpSettings settings) => Rule.Save(settings.Set("prefix", prefix));

    private protected override RowSet ResultRows() => rows;

    protected override Tensor Forward()
    {
        kept = Kept(new ReadOnlySpan<float>(score.Data, rows.Rows));
        if (kept.Length == rows.Rows)
        {
            Tensor all = x.View(x.Shape);
            all.Rows = rows;
            return all;
        }
        var y = new Tensor(new Shape(kept.Length, x.Shape[1])) { Rows = rows.Keep(kept) };
        IndexedRows.Gather(x.Data, kept, y.Data, x.Shape[1], false);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (!Wants(x)) return;
        if (kept.Length == rows.Rows)
        {
            PassGrad(x, dy);
            return;
        }
        Tensor dx = GradOf(x, out bool accumulate);
        IndexedRows.Scatter(dy.Data, kept, dx.Data, rows.Rows, x.Shape[1], accumulate);
    }

    public override void Flow(ChannelFlow flow)
    {
        flow.Same(Output, 1, x, 1);
        if (score.Rank == 2) flow.Fix(score, 1);
    }

    private int[] Kept(ReadOnlySpan<float> scores)
    {
        if (Rule.By == KeepBy.All) return [.. Enumerable.Range(0, rows.Rows)];
        var left = new List<int>(rows.Rows);
        ReadOnlySpan<int> tokens = rows.Tokens;
        for (int b = 0; b < rows.Images; b++)
        {
            int first = rows[b], end = rows[b + 1];
            while (first < end && tokens[first] < prefix) left.Add(first++);
            var (limit, ties) = Rule.By is KeepBy.Share or KeepBy.Count
                ? Highest(scores[first..end], Rule.Kept(end - first)) : (Rule.Limit, int.MaxValue);
            for (int row = first; row < end; row++)
            {
                bool stays = Rule.By == KeepBy.Tokens ? Array.BinarySearch(Rule.List!, tokens[row]) >= 0
                    : float.IsNaN(scores[row]) || scores[row] > limit || (scores[row] == limit && ties-- > 0);
                if (stays) left.Add(row);
            }
        }
        return [.. left];
    }

    /// <summary>The <paramref name="count"/>-th highest score, and how many of those equal to it are among the highest. What is no
    /// number counts as the highest.</summary>
    private static (float Limit, int Ties) Highest(ReadOnlySpan<float> scores, int count)
    {
        if (count == 0) return (float.PositiveInfinity, 0);
        float[] sorted = scores.ToArray();
        for (int i = 0; i < sorted.Length; i++) sorted[i] = float.IsNaN(sorted[i]) ? float.NegativeInfinity : -sorted[i];
        Array.Sort(sorted);
        float limit = sorted[count - 1];
        int ties = 1;
        while (ties < count && sorted[count - 1 - ties] == limit) ties++;
        return (-limit, ties);
    }
}

public static partial class F
{
    /// <inheritdoc cref="KeepRowsOp"/>
    /// <param name="prefix">Tokens of each image that always stay.</param>
    public static Tensor KeepRows(Tensor x, Tensor score, KeepRule rule, int prefix = 1) => new KeepRowsOp(x, score, rule, prefix).Run();
}
