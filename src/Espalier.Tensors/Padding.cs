namespace Espalier.Tensors;

/// <summary>Rows and columns that a convolution or pooling sees around an image; per side, because "SAME" is lopsided.</summary>
public readonly record struct Padding(int Top, int Bottom, int Left, int Right)
{
    /// <summary>The same on all four sides.</summary>
    public static implicit operator Padding(int all) => new(all, all, all, all);

    /// <summary>
    /// TensorFlow's SAME: as much as an output of ceil(n / stride) needs, the smaller half first. 224 with kernel 7 and
    /// stride 2 is padded by 2 and 3.
    /// </summary>
    public static Padding Same(int height, int width, int kernelHeight, int kernelWidth, int stride, int dilation = 1)
    {
        int rows = Total(height, kernelHeight, stride, dilation), columns = Total(width, kernelWidth, stride, dilation);
        return new Padding(rows / 2, rows - rows / 2, columns / 2, columns - columns / 2);
    }

    private static int Total(int size, int kernel, int stride, int dilation) =>
        Math.Max(0, ((size + stride - 1) / stride - 1) * stride + dilation * (kernel - 1) + 1 - size);

    public override string ToString() => $"({Top},{Bottom},{Left},{Right})";
}
