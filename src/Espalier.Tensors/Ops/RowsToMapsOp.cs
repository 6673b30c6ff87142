using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// The grid of an image's tokens as maps, for what works on neighbours: x [B·T, D], of which each image has so many tokens in
/// front (left out) and then height · width of a grid, row by row -> y [B, D, height, width].
/// </summary>
public sealed unsafe class RowsToMapsOp : Op
{
    private readonly Tensor x;
    private readonly int prefix, height, width, channels, images;

    /// <param name="prefix">Tokens in front of the grid, such as the class token.</param>
    /// <exception cref="ArgumentException">x has no row set, or images have other tokens than these.</exception>
    public RowsToMapsOp(Tensor x, int prefix, int height, int width) : base(x)
    {
        if (x.Rank != 2 || x.Rows is not { } rows || prefix < 0 || height < 1 || width < 1)
            throw new ArgumentException(
                $"RowsToMaps: x {x.Shape} must be rows [B·T, D], of {prefix} tokens and {height} x {width}");
        if (!rows.IsUniform || !rows.InOrder || rows.MaxLength != prefix + (long)height * width)
            throw new ArgumentException($"RowsToMaps: images have up to {rows.MaxLength} rows, which are not all of {prefix} "
                + $"tokens and a grid of {height} x {width}");
        (this.x, this.prefix, this.height, this.width) = (x, prefix, height, width);
        (channels, images) = (x.Shape[1], rows.Images);
    }

    public override string Name => "RowsToMaps";

    public override Shape Result => new(images, channels, height, width);

    public override Cost Cost => new(0, sizeof(float) * 2 * Result.Length);

    protected override void Save(OpSettings settings) => settings.Set("prefix", prefix).Set("height", height).Set("width", width);

    private protected override RowSet? ResultRows() => null;

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        GridOfRows.ToMaps(images, channels, prefix, height * width, x.Data, y.Data);
        return y;
    }

    protected internal override void Backward(Tensor dy) => AddGrad(x, d =>
    {
        GridOfRows.ToRows(images, channels, prefix, height * width, dy.Data, d.Data);
        GridOfRows.SetPrefix(images, channels, prefix, height * width, null, d.Data);
    });

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 1, x, 1);
}

public static partial class F
{
    /// <inheritdoc cref="RowsToMapsOp"/>
    public static Tensor RowsToMaps(Tensor x, int prefix, int height, int width) =>
        new RowsToMapsOp(x, prefix, height, width).Run();
}
