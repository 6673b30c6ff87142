using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Some rows of each image, by their place: rows start to start + count - 1, such as the class token's; a start below 0 counts
/// from the image's last row, which is -1. x [rows, D] -> y [images · count, D].
/// </summary>
public sealed unsafe class TakeRowsOp : Op
{
    private readonly Tensor x;
    private readonly RowSet rows;
    private readonly int start, count;
    private int[]? index;

    /// <exception cref="ArgumentException">x has no row set, or an image has fewer rows.</exception>
    public TakeRowsOp(Tensor x, int start, int count) : base(x)
    {
        rows = x.Rows ?? throw new ArgumentException($"TakeRows: x {x.Shape} has no row set");
        if (x.Rank != 2) throw new ArgumentException($"TakeRows: x {x.Shape} must be [rows, D]");
        if (count < 1 || (start < 0 && start > -count)) throw new ArgumentException($"TakeRows: {count} rows from {start}");
        (this.x, this.start, this.count) = (x, start, count);
    }

    public override string Name => "TakeRows";

    public int Start => start;

    public int Count => count;

    public override Shape Result => new(checked(rows.Images * count), x.Shape[1]);

    public override Cost Cost => new(0, sizeof(float) * 2 * Result.Length);

    protected override void Save(OpSettings settings) => settings.Set("start", start).Set("count", count);

    private protected override RowSet ResultRows() => rows.Keep(Index);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        IndexedRows.Gather(x.Data, Index, y.Data, x.Shape[1], false);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        IndexedRows.Scatter(dy.Data, Index, dx.Data, rows.Rows, x.Shape[1], accumulate);
    }

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 1, x, 1);

    private int[] Index => index ??= rows.RowsOfEach(start, count);
}

public static partial class F
{
    /// <inheritdoc cref="TakeRowsOp"/>
    public static Tensor TakeRows(Tensor x, int start, int count = 1) => new TakeRowsOp(x, start, count).Run();
}
