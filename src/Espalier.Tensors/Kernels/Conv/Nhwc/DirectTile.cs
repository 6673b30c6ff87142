namespace Espalier.Tensors.Kernels;

/// <summary>A tile's output pixels in two groups: where their first taps lie, their numbers, and how many they are together.
/// </summary>
internal readonly unsafe struct DirectTile(float* x, float* x2, nint pixel, nint pixel2, int pixels)
{
    public readonly float* X = x;
    public readonly float* X2 = x2;
    public readonly nint Pixel = pixel;
    public readonly nint Pixel2 = pixel2;
    public readonly int Pixels = pixels;
}
