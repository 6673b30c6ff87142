using System.Runtime.Intrinsics;

namespace Espalier.Imaging;

/// <summary>Puts decoded rows (grey, or RGB with alpha) into a picture: alpha goes, and rows may be reduced.</summary>
internal static class PixelRows
{
    /// <summary>Stores whole rows of a source, or their averages over shrink x shrink pixels (fewer at the far edges).</summary>
    /// <param name="source">[rows, width, samples]; rows is a multiple of <paramref name="shrink"/> but at the end.</param>
    /// <param name="samples">1 or 4 a pixel; of 4 the first one or three are kept, as the picture has channels.</param>
    /// <param name="top">The picture's row that the first source row goes to.</param>
    public static void Store(ReadOnlySpan<byte> source, int width, int samples, int shrink, Image image, int top)
    {
        int stride = width * samples, rows = source.Length / stride, targetStride = image.Width * image.Channels;
        if (shrink > 1)
        {
            Average(source, width, rows, samples, shrink, image, top);
            return;
        }
        for (int y = 0; y < rows; y++)
        {
            var from = source.Slice(y * stride, stride);
            var to = image.Pixels.AsSpan((top + y) * targetStride, targetStride);
            if (samples == image.Channels) from.CopyTo(to);
            else if (image.Channels == 3) DropAlpha(from, to);
            else for (int x = 0; x < to.Length; x++) to[x] = from[x * samples];
        }
    }

    private static void DropAlpha(ReadOnlySpan<byte> rgba, Span<byte> rgb)
    {
        int x = 0;
        var order = Vector128.Create((byte)0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 15, 15, 15, 15);
        // Four pixels a turn; 16 bytes are written of which 12 count, so the last five pixels are left to the loop below.
        for (; x <= rgb.Length / 3 - 6; x += 4)
            Vector128.Shuffle(Vector128.Create(rgba.Slice(4 * x, 16)), order).CopyTo(rgb[(3 * x)..]);
        for (; x < rgb.Length / 3; x++) rgba.Slice(4 * x, 3).CopyTo(rgb[(3 * x)..]);
    }

    private static void Average(ReadOnlySpan<byte> source, int width, int rows, int samples, int shrink, Image image, int top)
    {
        for (int y = 0; y < rows; y += shrink)
        {
            int high = Math.Min(shrink, rows - y), at = (top + y / shrink) * image.Width * image.Channels;
            for (int x = 0; x < width; x += shrink)
            {
                int wide = Math.Min(shrink, width - x), area = high * wide;
                for (int c = 0; c < image.Channels; c++)
                {
                    int sum = area / 2;
                    for (int i = 0; i < high; i++)
                    {
                        int from = ((y + i) * width + x) * samples + c;
                        for (int j = 0; j < wide; j++) sum += source[from + j * samples];
                    }
                    image.Pixels[at++] = (byte)(sum / area);
                }
            }
        }
    }
}
