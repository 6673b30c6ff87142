namespace Espalier.Tensors.Kernels;

/// <summary>Scale, zero point and range of codes from 0 to 255, with what kernels need of them.</summary>
/// <param name="Zero">The code of 0.</param>
/// <param name="Low">The least code; likewise the largest.</param>
internal readonly record struct CodeStep(float Scale, int Zero, int Low, int High)
{
    /// <summary>Numbers are multiplied with it, where dividing would take the time of the product; the neighbouring code may come
    /// of it where a number is half-way between two.</summary>
    public float Inverse { get; } = 1 / Scale;

    public float Least => Low - Zero;

    public float Most => High - Zero;

    /// <summary>Codes with and without sign as codes without: those with are moved by 128. Null where there are more than 8 bits
    /// of them.</summary>
    public static CodeStep? Of(float scale, int zero, int low, int high) =>
        low >= 0 && high <= 255 ? new CodeStep(scale, zero, low, high)
        : low >= -128 && high <= 127 ? new CodeStep(scale, zero + 128, low + 128, high + 128) : null;
}
