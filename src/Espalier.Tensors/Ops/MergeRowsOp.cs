using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Merges rows of each image by a plan of <see cref="MatchRowsOp"/>: rows that go to one place become their sum, or their mean by
/// weights, which are the numbers of patches that the rows stand for (ToMe, arXiv 2210.09461). x [rows, ..], plan [rows], weights
/// [rows] -> y [rows left, ..]. A merged row goes under the token of the first of its rows. The plan gets no gradient.
/// </summary>
public sealed unsafe class MergeRowsOp : Op
{
    private readonly Tensor x, plan;
    private readonly Tensor? weights;
    private readonly RowSet rows, left;
    private readonly int width;

    /// <param name="weights">Of a mean; null where each row counts as much.</param>
    /// <param name="count">As in the op that made the plan; <paramref name="prefix"/> likewise.</param>
    /// <param name="mean">Whether rows become their mean, and not their sum.</param>
    public MergeRowsOp(Tensor x, Tensor plan, Tensor? weights, int count, int prefix, bool mean) : base(x, plan, weights)
    {
        rows = x.Rows ?? throw new ArgumentException($"MergeRows: x {x.Shape} has no row set");
        if (x.Rank == 0 || plan.Shape != new Shape(rows.Rows) || (weights is not null && (weights.Length != rows.Rows || !mean)))
            throw new ArgumentException($"MergeRows: x {x.Shape}, plan {plan.Shape} and weights {weights?.Shape} "
                + $"(of a mean) must be of {rows.Rows} rows");
        if (count < 0 || prefix < 0) throw new ArgumentException($"MergeRows: {count} rows behind a prefix of {prefix}");
        (this.x, this.plan, this.weights, Count, Prefix, Mean) = (x, plan, weights, count, prefix, mean);
        width = checked((int)(x.Length / Math.Max(1, rows.Rows)));
        var lengths = new int[rows.Images];
        for (int b = 0; b < lengths.Length; b++) lengths[b] = RowMatching.Left(rows.Length(b), count, prefix);
        left = RowSet.Counts(lengths, inOrder: false);
    }

    public override string Name => "MergeRows";

    public int Count { get; }

    public int Prefix { get; }

    public bool Mean { get; }

    public override Shape Result => x.Shape.With(0, left.Rows);

    public override Cost Cost => new(0, sizeof(float) * (2 * x.Length + 2L * rows.Rows));

    protected override void Save(OpSettings settings) => settings.Set("count", Count).Set("prefix", Prefix).Set("mean", Mean);

    private protected override RowSet ResultRows() => left;

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        var from = new int[left.Rows];
        fixed (int* before = rows.Starts, after = left.Starts, first = from)
        {
            if (!RowMerging.IsWithin(before, after, rows.Images, plan.Data, 1))
                throw new ArgumentException("MergeRows: the plan has places that are none of its image's");
            RowMerging.Run(before, after, rows.Images, x.Data, width, width, plan.Data, 1, weights is null ? null
                : weights.Data, 1, Mean, y.Data, width, first);
        }
        var lengths = new int[left.Images];
        for (int b = 0; b < lengths.Length; b++) lengths[b] = left.Length(b);
        y.Rows = RowSet.Mixed(lengths, Array.ConvertAll(from, row => row < 0 ? 0 : rows.Tokens[row]));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        bool addX = false, addWeights = false;
        Tensor? dx = Wants(x) ? GradOf(x, out addX) : null, dw = Wants(weights) ? GradOf(weights!, out addWeights) : null;
        if (!addX) dx?.Fill(0);
        if (!addWeights) dw?.Fill(0);
        float[] sums = new float[left.Rows];
        int[] counts = new int[left.Rows];
        for (int i = 0, b = 0; i < rows.Rows; i++)
        {
            int p = Place(i, ref b);
            counts[p]++;
            sums[p] += weights is null ? 1 : weights.Data[i];
        }
        for (int i = 0, b = 0; i < rows.Rows; i++)
        {
            int p = Place(i, ref b);
            bool alone = !Mean || counts[p] == 1;
            float share = alone ? 1 : (weights is null ? 1 : weights.Data[i]) / sums[p];
            if (dx is not null) TensorPrimitives.MultiplyAdd(Row(dy, p), share, Row(dx, i), Row(dx, i));
            // d (Σ w x / Σ w) / dw = (x - y) / Σ w
            if (dw is not null && !alone) dw.Data[i] += (TensorPrimitives.Dot<float>(Row(dy, p), Row(x, i))
                - TensorPrimitives.Dot<float>(Row(dy, p), Row(Output, p))) / sums[p];
        }
    }

    public override void Flow(ChannelFlow flow)
    {
        for (int axis = 1; axis < x.Rank; axis++) flow.Same(Output, axis, x, axis);
    }

    /// <summary>Where a row goes, among all rows that are left.</summary>
    /// <param name="image">That of the row before, then the row's own.</param>
    private int Place(int row, ref int image)
    {
        while (row >= rows[image + 1]) image++;
        return left[image] + (int)plan.Data[row];
    }

    private Span<float> Row(Tensor t, int row) => new(t.Data + (nint)row * width, width);
}

public static partial class F
{
    /// <inheritdoc cref="MergeRowsOp"/>
    public static Tensor MergeRows(Tensor x, Tensor plan, int count, int prefix = 1, bool mean = true, Tensor? weights = null) =>
        new MergeRowsOp(x, plan, weights, count, prefix, mean).Run();
}
