using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Adaptive token sampling (Fayyaz et al., arXiv 2111.15667): at most <c>count</c> rows of each image, fewer where few have most
/// of the score. score [rows], none below 0 -> y [rows]: 1 for rows to keep, 0 for others, for <see cref="KeepRowsOp"/> with a
/// limit between. No gradient passes.
/// </summary>
public sealed unsafe class SampleRowsOp : Op
{
    private readonly Tensor score;
    private readonly RowSet rows;

    /// <param name="count">Rows of an image at most, those in front among them; at least 2. One behind those in front is taken even
    /// where that is more.</param>
    /// <param name="prefix">The first rows of an image, which are kept.</param>
    public SampleRowsOp(Tensor score, int count, int prefix) : base(score)
    {
        rows = score.Rows ?? throw new ArgumentException($"SampleRows: score {score.Shape} has no row set");
        if (score.Rank != 1) throw new ArgumentException($"SampleRows: score {score.Shape} must be [rows]");
        if (count < 2 || prefix < 0) throw new ArgumentException($"SampleRows: {count} rows, {prefix} of them in front");
        (this.score, Count, Prefix) = (score, count, prefix);
    }

    public override string Name => "SampleRows";

    public int Count { get; }

    public int Prefix { get; }

    /// <summary>Levels of the curve at which rows are taken: as many as rows behind those in front may stay.</summary>
    internal int Levels => Math.Max(1, Count - Prefix);

    public override Shape Result => score.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * score.Length);

    protected override void Save(OpSettings settings) => settings.Set("count", Count).Set("prefix", Prefix);

    private protected override RowSet ResultRows() => rows;

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        fixed (int* starts = rows.Starts)
            RowSampling.Run(starts, rows.Images, score.Data, 1, Levels, Prefix, y.Data, 1);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
    }

    public override void Flow(ChannelFlow flow)
    {
    }
}

public static partial class F
{
    /// <inheritdoc cref="SampleRowsOp"/>
    public static Tensor SampleRows(Tensor score, int count, int prefix = 1) => new SampleRowsOp(score, count, prefix).Run();
}
