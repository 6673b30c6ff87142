using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Keeps some rows of each image and drops the others for good: x [rows, D], score [rows] or [rows, 1] -> y [rows left, D], whose
/// row set is what is left of x's. A higher score stays rather. The gradient of x goes to the rows that stay, the score gets
/// none. Where dropped rows are fused (EViT, arXiv 2202.07800, section 3.3), an image that loses rows gets one more, its last:
/// the sum of those, each times its score, which then gets a gradient, too. It goes under the token of the one with the highest
/// score.
/// </summary>
public sealed unsafe class KeepRowsOp : Op
{
    private readonly Tensor x, score;
    private readonly RowSet rows;
    private readonly int prefix;
    private RowSet? example;
    private int[] kept = [];

    /// <param name="prefix">Tokens below this number stay whatever the rule says: the class token.</param>
    /// <param name="fuse">Whether dropped rows leave a row that is their weighted sum.</param>
    public KeepRowsOp(Tensor x, Tensor score, KeepRule rule, int prefix, bool fuse = false) : base(x, score)
    {
        rows = x.Rows ?? throw new ArgumentException($"KeepRows: x {x.Shape} has no row set");
        if (x.Rank != 2 || score.Length != rows.Rows || score.Rank is not (1 or 2) || score.Shape[0] != rows.Rows)
            throw new ArgumentException($"KeepRows: x {x.Shape} and score {score.Shape} must be [rows, D] and [rows]");
        if (prefix < 0) throw new ArgumentException($"KeepRows: a prefix of {prefix} tokens");
        (this.x, this.score, Rule, this.prefix, Fuse) = (x, score, rule, prefix, fuse);
    }

    public override string Name => "KeepRows";

    public KeepRule Rule { get; }

    /// <summary>Tokens that always stay.</summary>
    public int Prefix => prefix;

    /// <summary>Whether dropped rows leave a row that is their weighted sum.</summary>
    public bool Fuse { get; }

    /// <summary>As many rows as stay where the rule alone says it; by a limit, all.</summary>
    public override Shape Result => x.Shape.With(0, (example ??= Example()).Rows);

    public override Cost Cost => new(0, sizeof(float) * (2 * x.Length + score.Length));

    /// <summary>By the rule of the run, where it has one.</summary>
    public override Op On(Tensor?[] operands, RunContext run = default) =>
        new KeepRowsOp(operands[0]!, operands[1]!, run.Keep ?? Rule, prefix, Fuse);

    protected override void Save(OpSettings settings)
    {
        Rule.Save(settings.Set("prefix", prefix));
        if (Fuse) settings.Set("fuse", true);
    }

    private protected override RowSet ResultRows() => example ??= Example();

    protected override Tensor Forward()
    {
        kept = Kept(score.Data);
        if (kept.Length == rows.Rows)
        {
            Tensor all = x.View(x.Shape);
            all.Rows = rows;
            return all;
        }
        RowSet left = rows.Keep(kept);
        if (Fuse) return Fused(left);
        var y = new Tensor(new Shape(kept.Length, x.Shape[1])) { Rows = left };
        IndexedRows.Gather(x.Data, kept, y.Data, x.Shape[1], false);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (kept.Length == rows.Rows)
        {
            if (Wants(x)) PassGrad(x, dy);
            return;
        }
        if (Fuse)
        {
            BackwardFused(dy);
            return;
        }
        if (!Wants(x)) return;
        Tensor dx = GradOf(x, out bool accumulate);
        IndexedRows.Scatter(dy.Data, kept, dx.Data, rows.Rows, x.Shape[1], accumulate);
    }

    public override void Flow(ChannelFlow flow)
    {
        flow.Same(Output, 1, x, 1);
        if (score.Rank == 2) flow.Fix(score, 1);
    }

    /// <summary>What is left as far as the numbers of rows say it; by a limit, the most.</summary>
    private RowSet Example()
    {
        if (Rule.By is KeepBy.All or KeepBy.Limit) return rows;
        if (Rule.By == KeepBy.Tokens && rows.KnowsTokens && !Fuse) return rows.Keep(Kept(null));
        var lengths = new int[rows.Images];
        for (int b = 0; b < lengths.Length; b++)
        {
            int first = 0, length = rows.Length(b);
            while (first < length && rows.Tokens[rows[b] + first] < prefix) first++;
            int stay = Rule.By == KeepBy.Tokens ? Math.Min(length - first, Rule.List!.Length) : Rule.Kept(length - first);
            lengths[b] = first + stay + (Fuse && first + stay < length ? 1 : 0);
        }
        return RowSet.Counts(lengths, rows.InOrder && !Fuse);
    }

    /// <param name="scores">One a row; null for a rule that does not look at them.</param>
    private int[] Kept(float* scores)
    {
        if (Rule.By == KeepBy.All) return [.. Enumerable.Range(0, rows.Rows)];
        var left = new List<int>(rows.Rows);
        ReadOnlySpan<int> tokens = rows.Tokens;
        for (int b = 0; b < rows.Images; b++)
        {
            int first = rows[b], end = rows[b + 1];
            while (first < end && tokens[first] < prefix) left.Add(first++);
            var (limit, ties) = Rule.By is KeepBy.Share or KeepBy.Count
                ? HighestScores.Of(scores + first, 1, end - first, Rule.Kept(end - first)) : (Rule.Limit, int.MaxValue);
            for (int row = first; row < end; row++)
            {
                bool stays = Rule.By == KeepBy.Tokens ? Array.BinarySearch(Rule.List!, tokens[row]) >= 0
                    : float.IsNaN(scores[row]) || scores[row] > limit || (scores[row] == limit && ties-- > 0);
                if (stays) left.Add(row);
            }
        }
        return [.. left];
    }

    /// <summary>The rows that stay, and of each image that loses some their weighted sum.</summary>
    private Tensor Fused(RowSet left)
    {
        var lengths = new int[rows.Images];
        for (int b = 0; b < lengths.Length; b++) lengths[b] = left.Length(b) + (left.Length(b) < rows.Length(b) ? 1 : 0);
        var tokens = new int[lengths.Sum()];
        var y = new Tensor(new Shape(tokens.Length, x.Shape[1]));
        int next = 0;
        for (int b = 0; b < lengths.Length; b++)
        {
            Span<float> sum = lengths[b] == left.Length(b) ? [] : Row(y.Data, next + lengths[b] - 1);
            sum.Clear();
            int at = left[b], heaviest = -1;
            for (int row = rows[b]; row < rows[b + 1]; row++)
            {
                float weight = score.Data[row];
                if (at < left[b + 1] && kept[at] == row)
                {
                    Row(x.Data, row).CopyTo(Row(y.Data, next));
                    tokens[next++] = left.Tokens[at++];
                    continue;
                }
                TensorPrimitives.MultiplyAdd(Row(x.Data, row), weight, sum, sum);
                if (heaviest < 0 || weight > score.Data[heaviest]) heaviest = row;
            }
            if (heaviest >= 0) tokens[next++] = rows.Tokens[heaviest];
        }
        y.Rows = RowSet.Mixed(lengths, tokens);
        return y;
    }

    private void BackwardFused(Tensor dy)
    {
        bool addX = false, addScore = false;
        Tensor? dx = Wants(x) ? GradOf(x, out addX) : null, dScore = Wants(score) ? GradOf(score, out addScore) : null;
        if (!addX) dx?.Fill(0);
        if (!addScore) dScore?.Fill(0);
        RowSet all = Output.Rows!;
        for (int b = 0, at = 0; b < rows.Images; b++)
        {
            int next = all[b];
            Span<float> dSum = Row(dy.Data, all[b + 1] - 1);
            for (int row = rows[b]; row < rows[b + 1]; row++)
            {
                bool stays = at < kept.Length && kept[at] == row;
                if (dx is not null) TensorPrimitives.MultiplyAdd(stays ? Row(dy.Data, next) : dSum, stays ? 1 : score.Data[row],
                    Row(dx.Data, row), Row(dx.Data, row));
                if (!stays && dScore is not null)
                    dScore.Data[row] += TensorPrimitives.Dot(Row(x.Data, row), (ReadOnlySpan<float>)dSum);
                if (!stays) continue;
                at++;
                next++;
            }
        }
    }

    private Span<float> Row(float* data, int row) => new(data + (nint)row * x.Shape[1], x.Shape[1]);
}

public static partial class F
{
    /// <inheritdoc cref="KeepRowsOp"/>
    /// <param name="prefix">Tokens of each image that always stay.</param>
    /// <param name="fuse">Whether dropped rows leave a row that is their weighted sum.</param>
    public static Tensor KeepRows(Tensor x, Tensor score, KeepRule rule, int prefix = 1, bool fuse = false) =>
        new KeepRowsOp(x, score, rule, prefix, fuse).Run();
}
