using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>y[i] = x[index[i]]: picks rows, in any order, repeats allowed. x [rows, D] -> y [index.Length, D].</summary>
public sealed unsafe class GatherRowsOp : Op
{
    private readonly Tensor x;
    private readonly int[] index;
    private readonly RowSet? rows;
    private readonly int width;

    /// <param name="rows">The row set of the result, where its rows are tokens.</param>
    public GatherRowsOp(Tensor x, int[] index, RowSet? rows = null) : base(x)
    {
        this.rows = rows;
        if (x.Rank != 2) throw new ArgumentException($"GatherRows: x {x.Shape} must be [rows, D]");
        foreach (int row in index)
            if ((uint)row >= (uint)x.Shape[0]) throw new ArgumentException($"GatherRows: row {row} of x {x.Shape}");
        (this.x, this.index) = (x, index);
        width = x.Shape[1];
    }

    public override string Name => "GatherRows";

    public override Shape Result => new(index.Length, width);

    public override Cost Cost => new(0, sizeof(float) * 2L * index.Length * width);

    public override Op On(Tensor?[] operands, RunContext run = default) => new GatherRowsOp(operands[0]!, index, rows);

    private protected override RowSet? ResultRows() => rows;

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        IndexedRows.Gather(x.Data, index, y.Data, width, false);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        IndexedRows.Scatter(dy.Data, index, dx.Data, x.Shape[0], width, accumulate);
    }

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 1, x, 1);
}

public static partial class F
{
    /// <inheritdoc cref="GatherRowsOp"/>
    public static Tensor GatherRows(Tensor x, int[] index, RowSet? rows = null) => new GatherRowsOp(x, index, rows).Run();
}
