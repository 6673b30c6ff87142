namespace Espalier.Tensors;

/// <summary>How values between grid points are found; the names and results of <c>torch.nn.functional.interpolate</c>.</summary>
public enum ResizeMode
{
    /// <summary>The value whose cell holds the point.</summary>
    Nearest,

    /// <summary>Linear between neighbours, pixel centres at half-integers.</summary>
    Bilinear,

    /// <summary>Linear between neighbours, first and last points of both grids on one another.</summary>
    BilinearAlignCorners,

    /// <summary>Cubic convolution with a = -0.75 over four neighbours, pixel centres at half-integers.</summary>
    Bicubic,
}
