using Espalier.Imaging;

namespace Espalier.Reporting;

/// <summary>
/// Draws what token pruning leaves of an image: the original, then one panel a pruning layer in which the dropped patches
/// fade into a neutral tone under a thin grid. Kept patches are the image's own pixels.
/// </summary>
public static class TokenPicture
{
    /// <summary>Smaller images are enlarged by a whole factor until a panel's longer side has this many pixels.</summary>
    public const int PanelPixels = 168;

    /// <summary>A longer side is scaled down to this: the strip of a photo would be larger than any picture may be.</summary>
    public const int MaxPanelPixels = 512;

    private const int Gap = 8;
    private const double Fade = 0.86;
    private static readonly byte[] Neutral = [166, 184, 204], Line = [131, 152, 176], Paper = [255, 255, 255];

    /// <summary>All panels side by side.</summary>
    /// <param name="grid">Patches a side.</param>
    /// <param name="stages">For each pruning layer the tokens left: prefix tokens, then patches row by row.</param>
    /// <param name="prefixTokens">Tokens in front of the patches: 1 for a class token, 2 with a distillation token.</param>
    /// <returns>[H, (stages + 1) panels and their gaps, 3].</returns>
    /// <exception cref="ArgumentException">A token number that is not in the grid, or a strip that is too large.</exception>
    public static Image Strip(Image image, int grid, IReadOnlyList<IReadOnlyList<int>> stages, int prefixTokens = 1)
    {
        var panels = new List<Image>(stages.Count + 1) { Enlarge(image) };
        foreach (var kept in stages) panels.Add(Panel(image, grid, kept, prefixTokens));
        int width = panels[0].Width, height = panels[0].Height;
        var strip = new Image(panels.Count * (width + Gap) - Gap, height, 3);
        for (int i = 0; i < strip.Pixels.Length; i++) strip.Pixels[i] = Paper[i % 3];
        for (int p = 0; p < panels.Count; p++)
            for (int y = 0; y < height; y++)
                panels[p].Pixels.AsSpan(y * width * 3, width * 3)
                    .CopyTo(strip.Pixels.AsSpan((y * strip.Width + p * (width + Gap)) * 3));
        return strip;
    }

    /// <summary>The image, enlarged, with the patches faded that are not in <paramref name="kept"/>.</summary>
    /// <param name="kept">Tokens left: prefix tokens, then patches row by row.</param>
    /// <returns>[H * factor, W * factor, 3].</returns>
    public static Image Panel(Image image, int grid, IReadOnlyList<int> kept, int prefixTokens = 1)
    {
        var mask = new PatchMask(kept, grid, prefixTokens);
        var panel = Enlarge(image);
        for (int row = 0; row < grid; row++)
            for (int column = 0; column < grid; column++)
                if (!mask[row, column]) FadePatch(panel, grid, row, column);
        return panel;
    }

    private static void FadePatch(Image panel, int grid, int row, int column)
    {
        int top = PatchMask.Edge(row, grid, panel.Height), bottom = PatchMask.Edge(row + 1, grid, panel.Height);
        int left = PatchMask.Edge(column, grid, panel.Width), right = PatchMask.Edge(column + 1, grid, panel.Width);
        for (int y = top; y < bottom; y++)
            for (int x = left; x < right; x++)
            {
                // Lines only above and to the left: neighbours then share one line instead of drawing a thick one.
                bool line = y == top || x == left;
                var pixel = panel.Pixels.AsSpan((y * panel.Width + x) * 3, 3);
                for (int c = 0; c < 3; c++)
                    pixel[c] = line ? Line[c] : Blend(pixel[c], Neutral[c]);
            }
    }

    private static byte Blend(byte pixel, byte neutral) => (byte)Math.Round(pixel + Fade * (neutral - pixel));

    private static Image Enlarge(Image image)
    {
        ArgumentNullException.ThrowIfNull(image);
        int longer = Math.Max(image.Width, image.Height);
        if (longer > MaxPanelPixels)
        {
            image = Resampler.Resize(image, Math.Max(image.Width * MaxPanelPixels / longer, 1),
                Math.Max(image.Height * MaxPanelPixels / longer, 1));
            longer = MaxPanelPixels;
        }
        int factor = Math.Max(1, (PanelPixels + longer - 1) / longer);
        var large = new Image(image.Width * factor, image.Height * factor, 3);
        for (int y = 0, to = 0; y < large.Height; y++)
            for (int x = 0; x < large.Width; x++, to += 3)
            {
                int from = (y / factor * image.Width + x / factor) * image.Channels;
                for (int c = 0; c < 3; c++) large.Pixels[to + c] = image.Pixels[from + (image.Channels == 3 ? c : 0)];
            }
        return large;
    }
}
