using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Cuts images into p x p patches, one row a patch, so that a convolution with kernel p and stride p is one matrix product.
/// x [B, C, H, W] -> rows [B·(H/p)·(W/p), C·p·p]: image by image, row-major over the grid of patches, columns in the order of a
/// flattened convolution weight [D, C, p, p].
/// </summary>
public sealed unsafe class PatchesToRowsOp : Op
{
    private readonly Tensor x;
    private readonly int patch, batch, channels, height, width;

    public PatchesToRowsOp(Tensor x, int patch) : base(x)
    {
        if (x.Rank != 4) throw new ArgumentException($"PatchesToRows: x {x.Shape} must be [B, C, H, W]");
        if (patch < 1 || x.Shape[2] % patch != 0 || x.Shape[3] % patch != 0)
            throw new ArgumentException($"PatchesToRows: x {x.Shape} does not divide into patches of {patch} x {patch}");
        (this.x, this.patch) = (x, patch);
        (batch, channels, height, width) = (x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]);
    }

    public override string Name => "PatchesToRows";

    public override Shape Result => new(checked(batch * (height / patch) * (width / patch)), channels * patch * patch);

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    protected override void Save(OpSettings settings) => settings.Set("patch", patch);

    private protected override RowSet ResultRows() => RowSet.Uniform(batch, height / patch * (width / patch));

    protected override Tensor Forward()
    {
        var rows = new Tensor(Result);
        Kernel.ToRows(x.Data, rows.Data);
        return rows;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        Kernel.ToImages(dy.Data, dx.Data, accumulate);
    }

    private Patches Kernel => new(batch, channels, height, width, patch);

    /// <summary>A channel of the image is p·p neighbouring columns.</summary>
    public override void Flow(ChannelFlow flow) => flow.Couple(Output, 1, 0, patch * patch, x, 1, 0, 1, channels);
}

public static partial class F
{
    /// <inheritdoc cref="PatchesToRowsOp"/>
    public static Tensor PatchesToRows(Tensor x, int patch) => new PatchesToRowsOp(x, patch).Run();
}
