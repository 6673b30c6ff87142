using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Resizes planes without antialiasing: x [N, C, H, W] -> y [N, C, height, width], as
/// <c>torch.nn.functional.interpolate(x, size)</c>.
/// </summary>
public sealed unsafe class InterpolateOp : Op
{
    private readonly Tensor x;
    private readonly Resize resize;

    public InterpolateOp(Tensor x, int height, int width, ResizeMode mode) : base(x)
    {
        if (x.Rank != 4 || x.Shape[2] * x.Shape[3] == 0)
            throw new ArgumentException($"Interpolate: x {x.Shape} must be [N, C, H, W] with at least one pixel");
        if (height < 1 || width < 1) throw new ArgumentException($"Interpolate: x {x.Shape} to a size of {height} x {width}");
        (this.x, Height, Width, Mode) = (x, height, width, mode);
        resize = new Resize(checked(x.Shape[0] * x.Shape[1]),
            ResizeTable.Create(x.Shape[2], height, mode), ResizeTable.Create(x.Shape[3], width, mode));
    }

    public override string Name => "Interpolate";

    public int Height { get; }

    public int Width { get; }

    public ResizeMode Mode { get; }

    public override Shape Result => new(x.Shape[0], x.Shape[1], Height, Width);

    public override Cost Cost => new(0, sizeof(float) * (x.Length + (long)x.Shape[0] * x.Shape[1] * Height * Width));

    protected override void Save(OpSettings settings) => settings.Set("height", Height).Set("width", Width).Set("mode", Mode);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        using Tensor scratch = Tensor.Unscoped(new Shape(checked((int)resize.ScratchLength)));
        resize.Forward(x.Data, y.Data, scratch.Data);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        if (!accumulate) dx.Fill(0);
        using Tensor scratch = Tensor.Unscoped(new Shape(checked((int)resize.ScratchLength)));
        resize.Backward(dy.Data, dx.Data, scratch.Data);
    }

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 1, x, 1);
}

public static partial class F
{
    /// <inheritdoc cref="InterpolateOp"/>
    public static Tensor Interpolate(Tensor x, int height, int width, ResizeMode mode) =>
        new InterpolateOp(x, height, width, mode).Run();
}
