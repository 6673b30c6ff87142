namespace Espalier.Tensors.Kernels;

/// <summary>
/// Between token rows [images · (prefix + pixels), channels] and the maps [images, channels, pixels] of those behind the prefix.
/// </summary>
internal static unsafe class GridOfRows
{
    public static void ToMaps(int images, int channels, int prefix, int pixels, float* rows, float* maps)
    {
        for (nint b = 0; b < images; b++)
        {
            float* first = rows + (b * (prefix + pixels) + prefix) * channels;
            NhwcLayout.ToNchw(1, channels, pixels, first, channels, maps + b * channels * pixels);
        }
    }

    /// <summary>Writes the rows behind the prefix.</summary>
    public static void ToRows(int images, int channels, int prefix, int pixels, float* maps, float* rows)
    {
        for (nint b = 0; b < images; b++)
        {
            float* first = rows + (b * (prefix + pixels) + prefix) * channels;
            NhwcLayout.FromNchw(1, channels, pixels, maps + b * channels * pixels, first, channels);
        }
    }

    /// <summary>Writes the rows of the prefix.</summary>
    /// <param name="first">[images · prefix, channels]; null for zeros.</param>
    public static void SetPrefix(int images, int channels, int prefix, int pixels, float* first, float* rows)
    {
        for (nint b = 0; b < images; b++)
        {
            var to = new Span<float>(rows + b * (prefix + pixels) * channels, prefix * channels);
            if (first == null) to.Clear();
            else new ReadOnlySpan<float>(first + b * prefix * channels, prefix * channels).CopyTo(to);
        }
    }

    /// <summary>Reads the rows of the prefix.</summary>
    public static void GetPrefix(int images, int channels, int prefix, int pixels, float* rows, float* first)
    {
        for (nint b = 0; b < images; b++)
            new ReadOnlySpan<float>(rows + b * (prefix + pixels) * channels, prefix * channels)
                .CopyTo(new Span<float>(first + b * prefix * channels, prefix * channels));
    }
}
