using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// The mean under a window. x [N, C, H, W] -> y [N, C, OH, OW] with OH = (H + top + bottom - kernel) / stride + 1.
/// </summary>
public sealed unsafe class AvgPool2dOp : Op
{
    private readonly Tensor x;
    private readonly Window window;

    /// <param name="stride">0 stands for <paramref name="kernel"/>: windows side by side.</param>
    /// <param name="padding">Less than the kernel on every side.</param>
    /// <param name="countIncludePad">Whether padding counts as zeros in the mean (PyTorch's default) or is left out.</param>
    public AvgPool2dOp(Tensor x, int kernel, int stride = 0, Padding padding = default, bool countIncludePad = true) : base(x)
    {
        (this.x, CountIncludePad) = (x, countIncludePad);
        window = Pooling.Check("AvgPool2d", x, kernel, stride, padding);
    }

    public override string Name => "AvgPool2d";

    public int Kernel => window.KernelHeight;

    public int Stride => window.Stride.Rows;

    public Padding Padding => window.Padding;

    public bool CountIncludePad { get; }

    public override Shape Result => new(x.Shape[0], x.Shape[1], window.OutHeight, window.OutWidth);

    public override Cost Cost => new(0, sizeof(float) * (x.Length + Planes * window.OutArea));

    private long Planes => (long)x.Shape[0] * x.Shape[1];

    protected override void Save(OpSettings settings) =>
        settings.Set("kernel", Kernel).Set("stride", Stride).Set("padding", Padding).Set("countIncludePad", CountIncludePad);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        AveragePooling.Forward(x.Data, checked((int)Planes), window, CountIncludePad, y.Data);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        if (!accumulate) dx.Fill(0);
        AveragePooling.Backward(dy.Data, (int)Planes, window, CountIncludePad, dx.Data);
    }

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 1, x, 1);
}

public static partial class F
{
    /// <inheritdoc cref="AvgPool2dOp"/>
    public static Tensor AvgPool2d(
        Tensor x, int kernel, int stride = 0, Padding padding = default, bool countIncludePad = true) =>
        new AvgPool2dOp(x, kernel, stride, padding, countIncludePad).Run();
}
