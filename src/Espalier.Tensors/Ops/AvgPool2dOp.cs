using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// The mean under a window. x [N, C, H, W] -> y [N, C, OH, OW] with OH = (H + top + bottom - kernel) / stride + 1.
/// </summary>
public sealed unsafe class AvgPool2dOp : PoolOp
{
    /// <param name="stride">0 stands for <paramref name="kernel"/>: windows side by side.</param>
    /// <param name="padding">Less than the kernel on every side.</param>
    /// <param name="countIncludePad">Whether padding counts as zeros in the mean (PyTorch's default) or is left out.</param>
    public AvgPool2dOp(Tensor x, int kernel, int stride = 0, Padding padding = default, bool countIncludePad = true)
        : base("AvgPool2d", x, kernel, stride, padding) => CountIncludePad = countIncludePad;

    public bool CountIncludePad { get; }

    protected override void Save(OpSettings settings)
    {
        base.Save(settings);
        settings.Set("countIncludePad", CountIncludePad);
    }

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        AveragePooling.Forward(X.Data, checked((int)Planes), Window, CountIncludePad, y.Data);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(X, out bool accumulate);
        if (!accumulate) dx.Fill(0);
        AveragePooling.Backward(dy.Data, (int)Planes, Window, CountIncludePad, dx.Data);
    }
}

public static partial class F
{
    /// <inheritdoc cref="AvgPool2dOp"/>
    public static Tensor AvgPool2d(
        Tensor x, int kernel, int stride = 0, Padding padding = default, bool countIncludePad = true) =>
        new AvgPool2dOp(x, kernel, stride, padding, countIncludePad).Run();
}
