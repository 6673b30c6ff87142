using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// y[index[i]] += x[i] into zeros: puts rows into places, adding those that share one. x [index.Length, D] -> y [rows, D].
/// </summary>
public sealed unsafe class ScatterRowsOp : Op
{
    private readonly Tensor x;
    private readonly int[] index;
    private readonly int rows, width;

    public ScatterRowsOp(Tensor x, int[] index, int rows) : base(x)
    {
        if (x.Rank != 2 || x.Shape[0] != index.Length)
            throw new ArgumentException($"ScatterRows: x {x.Shape} must be [{index.Length}, D], a row for each index");
        foreach (int row in index)
        {
            if ((uint)row >= (uint)rows)
                throw new ArgumentException($"ScatterRows: row {row} of an output [{rows},{x.Shape[1]}]");
        }
        (this.x, this.index, this.rows, width) = (x, index, rows, x.Shape[1]);
    }

    public override string Name => "ScatterRows";

    public override Shape Result => new(rows, width);

    public override Cost Cost => new(0, sizeof(float) * ((long)index.Length + rows) * width);

    public override Op On(Tensor?[] operands, RunContext run = default) => new ScatterRowsOp(operands[0]!, index, rows);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        IndexedRows.Scatter(x.Data, index, y.Data, rows, width, false);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        IndexedRows.Gather(dy.Data, index, dx.Data, width, accumulate);
    }

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 1, x, 1);
}

public static partial class F
{
    /// <inheritdoc cref="ScatterRowsOp"/>
    public static Tensor ScatterRows(Tensor x, int[] index, int rows) => new ScatterRowsOp(x, index, rows).Run();
}
