namespace Espalier.Tensors.Kernels;

/// <summary>How a convolution's kernel slides, whatever it slides over.</summary>
internal readonly record struct ConvShape(int KernelHeight, int KernelWidth, Strides Stride, Padding Padding, int Dilation = 1)
{
    /// <summary>Positions of the kernel.</summary>
    public int Taps => KernelHeight * KernelWidth;

    /// <summary>Whether output pixel p sees input pixel p and nothing else.</summary>
    public bool Pointwise => Taps == 1 && Stride == 1 && Padding == default;

    /// <summary>The same kernel over an image of this size.</summary>
    public Window Over(int height, int width) => new(height, width, KernelHeight, KernelWidth, Stride, Dilation, Padding);
}

/// <summary>How many floats lie between neighbouring outputs and inputs of a convolution's weights, whose taps follow each
/// other; and whether the last tap is taken as the first. With a single tap one of the distances is 1.</summary>
internal readonly record struct WeightOrder(nint Output, nint Input, bool Turned = false);
