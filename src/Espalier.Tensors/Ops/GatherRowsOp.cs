namespace Espalier.Tensors;

/// <summary>y[i] = x[index[i]]: picks rows, in any order, repeats allowed. x [rows, D] -> y [index.Length, D].</summary>
public sealed unsafe class GatherRowsOp : Op
{
    private readonly Tensor x;
    private readonly int[] index;
    private readonly int width;

    public GatherRowsOp(Tensor x, int[] index) : base(x)
    {
        if (x.Rank != 2) throw new ArgumentException($"GatherRows: x {x.Shape} must be [rows, D]");
        foreach (int row in index)
            if ((uint)row >= (uint)x.Shape[0]) throw new ArgumentException($"GatherRows: row {row} of x {x.Shape}");
        (this.x, this.index) = (x, index);
        width = x.Shape[1];
    }

    public override string Name => "GatherRows";

    public override Cost Cost => new(0, sizeof(float) * 2L * index.Length * width);

    protected override Tensor Forward()
    {
        var y = new Tensor(new Shape(index.Length, width));
        for (int i = 0; i < index.Length; i++) Row(x, index[i]).CopyTo(Row(y, i));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        if (!accumulate) dx.Fill(0);
        for (int i = 0; i < index.Length; i++)
        {
            Span<float> sum = Row(dx, index[i]);
            System.Numerics.Tensors.TensorPrimitives.Add(sum, Row(dy, i), sum);
        }
    }

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 1, x, 1);

    private Span<float> Row(Tensor t, int row) => new(t.Data + (long)row * width, width);
}

public static partial class F
{
    /// <inheritdoc cref="GatherRowsOp"/>
    public static Tensor GatherRows(Tensor x, int[] index) => new GatherRowsOp(x, index).Run();
}
