using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>What the pooling ops check alike.</summary>
internal static class Pooling
{
    public static Window Check(string op, Tensor x, int kernel, int stride, Padding padding)
    {
        // Without pixels a window in the padding alone would have no value to take.
        if (x.Rank != 4 || x.Shape[2] == 0 || x.Shape[3] == 0)
            throw new ArgumentException($"{op}: x {x.Shape} must be [N, C, H, W] with at least one pixel");
        if (kernel < 1 || stride < 0) throw new ArgumentException($"{op}: kernel {kernel} and stride {stride} must be positive");
        foreach (int side in (ReadOnlySpan<int>)[padding.Top, padding.Bottom, padding.Left, padding.Right])
            if (side < 0 || side >= kernel)
                throw new ArgumentException($"{op}: padding {padding} must be less than the kernel, {kernel}");
        var window = new Window(x.Shape[2], x.Shape[3], kernel, kernel, stride == 0 ? kernel : stride, 1, padding);
        return window.OutArea > 0 ? window
            : throw new ArgumentException($"{op}: a kernel of {kernel} is larger than x {x.Shape} padded by {padding}");
    }
}
