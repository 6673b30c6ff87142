namespace Espalier.Tensors.Kernels;

/// <summary>
/// Moves non-overlapping p x p patches between an image [C, H, W] and rows [(H/p)(W/p), C·p·p]: row-major over the grid, columns
/// in the order of a flattened convolution weight [C, p, p].
/// </summary>
internal static unsafe class Patches
{
    /// <summary>image [C, H, W] -> rows; every element of rows is written.</summary>
    public static void ToRows(float* image, int channels, int height, int width, int patch, float* rows)
    {
        int across = width / patch, row = channels * patch * patch;
        for (int c = 0; c < channels; c++)
        {
            for (int y = 0; y < height; y++)
            {
                float* from = image + ((long)c * height + y) * width;
                float* to = rows + (long)(y / patch) * across * row + (c * patch + y % patch) * patch;
                for (int i = 0; i < across; i++, from += patch, to += row)
                    new ReadOnlySpan<float>(from, patch).CopyTo(new Span<float>(to, patch));
            }
        }
    }

    /// <summary>The way back: rows -> image, written or, with <paramref name="accumulate"/>, added.</summary>
    public static void ToImage(float* rows, int channels, int height, int width, int patch, float* image, bool accumulate)
    {
        int across = width / patch, row = channels * patch * patch;
        for (int c = 0; c < channels; c++)
        {
            for (int y = 0; y < height; y++)
            {
                float* to = image + ((long)c * height + y) * width;
                float* from = rows + (long)(y / patch) * across * row + (c * patch + y % patch) * patch;
                for (int i = 0; i < across; i++, from += row, to += patch)
                {
                    if (accumulate) for (int j = 0; j < patch; j++) to[j] += from[j];
                    else new ReadOnlySpan<float>(from, patch).CopyTo(new Span<float>(to, patch));
                }
            }
        }
    }
}
