using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Maps as token rows, the way back from <see cref="RowsToMapsOp"/>: x [B, D, H, W], first [B·prefix, D] or none for zeros
/// -> y [B·T, D], T = prefix + H·W: for each image its rows in front, then the pixels row by row.
/// </summary>
public sealed unsafe class MapsToRowsOp : Op
{
    private readonly Tensor x;
    private readonly Tensor? first;
    private readonly int prefix, images, channels, pixels;

    public MapsToRowsOp(Tensor x, Tensor? first, int prefix) : base(x, first)
    {
        if (x.Rank != 4 || prefix < 0)
            throw new ArgumentException($"MapsToRows: x {x.Shape} must be [B, D, H, W], behind {prefix} rows");
        (images, channels, pixels) = (x.Shape[0], x.Shape[1], checked(x.Shape[2] * x.Shape[3]));
        if (first is not null && first.Shape != new Shape(checked(images * prefix), channels))
            throw new ArgumentException($"MapsToRows: {prefix} rows of each image in front of x {x.Shape} are not {first.Shape}");
        (this.x, this.first, this.prefix) = (x, first, prefix);
    }

    public override string Name => "MapsToRows";

    public override Shape Result => new(checked(images * (prefix + pixels)), channels);

    public override Cost Cost => new(0, sizeof(float) * 2 * Result.Length);

    protected override void Save(OpSettings settings) => settings.Set("prefix", prefix);

    private protected override RowSet ResultRows() => RowSet.Uniform(images, prefix + pixels);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        GridOfRows.SetPrefix(images, channels, prefix, pixels, first is null ? null : first.Data, y.Data);
        GridOfRows.ToRows(images, channels, prefix, pixels, x.Data, y.Data);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (Wants(x)) AddGrad(x, d => GridOfRows.ToMaps(images, channels, prefix, pixels, dy.Data, d.Data));
        if (Wants(first)) AddGrad(first!, d => GridOfRows.GetPrefix(images, channels, prefix, pixels, dy.Data, d.Data));
    }

    public override void Flow(ChannelFlow flow)
    {
        flow.Same(Output, 1, x, 1);
        if (first is not null) flow.Same(Output, 1, first, 1);
    }
}

public static partial class F
{
    /// <inheritdoc cref="MapsToRowsOp"/>
    public static Tensor MapsToRows(Tensor x, Tensor? first = null, int prefix = 0) => new MapsToRowsOp(x, first, prefix).Run();
}
