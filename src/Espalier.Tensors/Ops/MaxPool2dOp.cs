using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// The largest value under a window. x [N, C, H, W] -> y [N, C, OH, OW] with OH = (H + top + bottom - kernel) / stride + 1.
/// Padding counts as minus infinity. Of equal values the first (row-major) takes the gradient, as in PyTorch.
/// </summary>
public sealed unsafe class MaxPool2dOp : PoolOp
{
    private Tensor? argmax;

    /// <param name="stride">0 stands for <paramref name="kernel"/>: windows side by side.</param>
    /// <param name="padding">Less than the kernel on every side, so that each window holds at least one value.</param>
    public MaxPool2dOp(Tensor x, int kernel, int stride = 0, Padding padding = default)
        : base("MaxPool2d", x, kernel, stride, padding)
    {
    }

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        // Held as 32-bit integers in the floats' places.
        if (Differentiated) argmax = new Tensor(y.Shape);
        MaxPooling.Forward(X.Data, checked((int)Planes), Window, y.Data, argmax is null ? null : (int*)argmax.Data);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(X, out bool accumulate);
        if (!accumulate) dx.Fill(0);
        MaxPooling.Backward(dy.Data, (int*)argmax!.Data, (int)Planes, Window, dx.Data);
    }
}

public static partial class F
{
    /// <inheritdoc cref="MaxPool2dOp"/>
    public static Tensor MaxPool2d(Tensor x, int kernel, int stride = 0, Padding padding = default) =>
        new MaxPool2dOp(x, kernel, stride, padding).Run();
}
