namespace Espalier.Tensors.Kernels;

/// <summary>How a kernel slides over a plane, and the size of the plane of results.</summary>
internal readonly struct Window
{
    public Window(int height, int width, int kernelHeight, int kernelWidth, Strides stride, int dilation, Padding padding)
    {
        (Height, Width, KernelHeight, KernelWidth) = (height, width, kernelHeight, kernelWidth);
        (Stride, Dilation, Padding) = (stride, dilation, padding);
        OutHeight = Out((long)height + padding.Top + padding.Bottom, kernelHeight, stride.Rows, dilation);
        OutWidth = Out((long)width + padding.Left + padding.Right, kernelWidth, stride.Columns, dilation);
        _ = checked(kernelHeight * kernelWidth);
    }

    public int Height { get; }

    public int Width { get; }

    public int KernelHeight { get; }

    public int KernelWidth { get; }

    public Strides Stride { get; }

    public int Dilation { get; }

    public Padding Padding { get; }

    /// <summary>0 where not one position of the kernel fits.</summary>
    public int OutHeight { get; }

    public int OutWidth { get; }

    public int Area => Height * Width;

    public int OutArea => OutHeight * OutWidth;

    public int Taps => KernelHeight * KernelWidth;

    /// <summary>The input row, perhaps outside, that kernel row tap of output row y reads.</summary>
    public int Row(int y, int tap) => y * Stride.Rows + tap * Dilation - Padding.Top;

    /// <summary>The input column, perhaps outside, that kernel column tap of output column x reads.</summary>
    public int Column(int x, int tap) => x * Stride.Columns + tap * Dilation - Padding.Left;

    /// <summary>The output rows whose kernel row <paramref name="tap"/> reads inside the image.</summary>
    public (int Start, int End) Rows(int tap) => Inside(tap * Dilation - Padding.Top, Height, OutHeight, Stride.Rows);

    /// <summary>The output columns whose kernel column <paramref name="tap"/> reads inside the image.</summary>
    public (int Start, int End) Columns(int tap) => Inside(tap * Dilation - Padding.Left, Width, OutWidth, Stride.Columns);

    // Outputs o with 0 <= o * stride + offset < size.
    private static (int Start, int End) Inside(int offset, int size, int outputs, int stride)
    {
        int start = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
        int end = size - 1 - offset < 0 ? 0 : (size - 1 - offset) / stride + 1;
        start = Math.Min(start, outputs);
        return (start, Math.Clamp(end, start, outputs));
    }

    // In long numbers: a file may say anything.
    private static int Out(long size, int kernel, int stride, int dilation)
    {
        long room = size - (long)dilation * (kernel - 1) - 1;
        return room < 0 ? 0 : checked((int)(room / stride + 1));
    }
}
