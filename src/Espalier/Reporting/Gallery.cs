using Espalier.Imaging;

namespace Espalier.Reporting;

/// <summary>
/// Images and what pruning left of them. The image is in the page once; each panel shows it again under a drawing of the
/// patches that are gone, which stays sharp at any size.
/// </summary>
internal static class Gallery
{
    private const int LongestSide = 512, PixelatedBelow = 128;

    public static void Draw(Markup page, IReadOnlyList<GalleryItem> items)
    {
        bool small = items.All(i => Math.Max(i.Image.Width, i.Image.Height) < PixelatedBelow);
        string one = items.All(i => i.Stages.Count == 0) ? " single" : "";
        page.Add($"<div class=\"gallery {(small ? "thumbnails" : "photographs")}{one}\">");
        for (int i = 0; i < items.Count; i++) DrawItem(page, items[i], $"image{i}");
        page.Add($"</div>");
    }

    private static void DrawItem(Markup page, GalleryItem item, string id)
    {
        var image = Fit(item.Image);
        int entered = item.PrefixTokens + item.Grid * item.Grid;
        string verdict = item.Correct ? "right" : "wrong", mark = item.Correct ? "✓" : "✕";
        page.Add($"<figure class=\"item\"><figcaption><span class=\"{verdict}\">{mark}</span> ")
            .Add($"<b class=\"name\">{item.Prediction}</b>");
        if (!item.Correct) page.Add($" <span class=\"truth\">in truth <span class=\"name\">{item.Label}</span></span>");
        page.Add($"</figcaption><div class=\"panels\">");

        Begin(page, image, "original");
        string pixelated = Math.Max(image.Width, image.Height) < PixelatedBelow ? "pixelated" : "smooth";
        page.Add($"<image id=\"{id}\" class=\"{pixelated}\" width=\"{image.Width}\" height=\"{image.Height}\" ")
            .Add($"preserveAspectRatio=\"none\" href=\"{DataUrl(image)}\"/>");
        if (item.Stages.Count == 0) page.Add($"</svg></div>");
        else End(page, "original", entered);
        foreach (var stage in item.Stages)
        {
            Begin(page, image, stage.Name);
            page.Add($"<use href=\"#{id}\"/>");
            Wash(page, new PatchMask(stage.Kept, item.Grid, item.PrefixTokens), image);
            End(page, stage.Name, stage.Kept.Length);
        }
        page.Add($"</div></figure>");
    }

    private static void Begin(Markup page, Image image, string name) => page.Add($"<div class=\"panel\">")
        .Add($"<svg viewBox=\"0 0 {image.Width} {image.Height}\" role=\"img\" aria-label=\"{name}\">");

    private static void End(Markup page, string name, int tokens) =>
        page.Add($"</svg><p><span class=\"name\">{name}</span> <b>{tokens}</b></p></div>");

    /// <summary>A veil over the runs of dropped patches, and the patches' edges inside them.</summary>
    private static void Wash(Markup page, PatchMask mask, Image image)
    {
        Markup veil = new(), lines = new();
        double w = (double)image.Width / mask.Grid, h = (double)image.Height / mask.Grid;
        for (int row = 0; row < mask.Grid; row++)
            for (int column = 0; column < mask.Grid; column++)
            {
                if (mask[row, column]) continue;
                int end = column;
                while (end < mask.Grid && !mask[row, end]) end++;
                veil.Add($"M{column * w} {row * h}H{end * w}V{(row + 1) * h}H{column * w}z");
                for (int c = column; c < end; c++) lines.Add($"M{c * w} {(row + 1) * h}V{row * h}H{(c + 1) * w}");
                column = end;
            }
        page.Add($"<path class=\"veil\" d=\"{veil}\"/><path class=\"cut\" d=\"{lines}\"/>");
    }

    /// <summary>Photographs are made smaller than a page shows them at most, so that the file stays small.</summary>
    internal static Image Fit(Image image)
    {
        double scale = (double)LongestSide / Math.Max(image.Width, image.Height);
        return scale >= 1 ? image : Resampler.Resize(image, Side(image.Width, scale), Side(image.Height, scale));
    }

    /// <summary>The whole picture as an address that a page can hold.</summary>
    internal static string DataUrl(Image image)
    {
        using var stream = new MemoryStream();
        PngWriter.Write(stream, image);
        return "data:image/png;base64," + Convert.ToBase64String(stream.GetBuffer(), 0, (int)stream.Length);
    }

    private static int Side(int pixels, double scale) => Math.Max(1, (int)Math.Round(pixels * scale));
}
