using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// One value of each position of a window. x [N, C, H, W] -> y [N, C, OH, OW], OH = (H + top + bottom - kernel) / stride + 1.
/// </summary>
public abstract class PoolOp : Op
{
    private protected PoolOp(string name, Tensor x, int kernel, int stride, Padding padding) : base(x)
    {
        (Name, X) = (name, x);
        // Without pixels a window in the padding alone would have no value to take.
        if (x.Rank != 4 || x.Shape[2] == 0 || x.Shape[3] == 0)
            throw new ArgumentException($"{name}: x {x.Shape} must be [N, C, H, W] with at least one pixel");
        if (kernel < 1 || stride < 0)
            throw new ArgumentException($"{name}: kernel {kernel} and stride {stride} must be positive");
        foreach (int side in (ReadOnlySpan<int>)[padding.Top, padding.Bottom, padding.Left, padding.Right])
            if (side < 0 || side >= kernel)
                throw new ArgumentException($"{name}: padding {padding} must be less than the kernel, {kernel}");
        Window = new Window(x.Shape[2], x.Shape[3], kernel, kernel, stride == 0 ? kernel : stride, 1, padding);
        if (Window.OutArea <= 0)
            throw new ArgumentException($"{name}: a kernel of {kernel} is larger than x {x.Shape} padded by {padding}");
    }

    public sealed override string Name { get; }

    public int Kernel => Window.KernelHeight;

    public int Stride => Window.Stride.Rows;

    public Padding Padding => Window.Padding;

    public sealed override Shape Result => new(X.Shape[0], X.Shape[1], Window.OutHeight, Window.OutWidth);

    public sealed override Cost Cost => new(0, sizeof(float) * (X.Length + Planes * Window.OutArea));

    private protected Tensor X { get; }

    private protected Window Window { get; }

    private protected long Planes => (long)X.Shape[0] * X.Shape[1];

    protected override void Save(OpSettings settings) =>
        settings.Set("kernel", Kernel).Set("stride", Stride).Set("padding", Padding);

    public sealed override void Flow(ChannelFlow flow) => flow.Same(Output, 1, X, 1);
}
