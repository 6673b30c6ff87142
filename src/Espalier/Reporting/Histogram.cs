namespace Espalier.Reporting;

/// <summary>How many images keep how many tokens after one layer. All layers share the horizontal axis.</summary>
internal static class Histogram
{
    private const double Width = 260, Height = 168, Left = 2, Right = 256, Top = 8, Bottom = 132;
    private const int MostBins = 50;

    /// <summary>Draws one figure a layer; a layer without images is left out.</summary>
    public static void Draw(Markup page, IReadOnlyList<TokenHistogram> layers)
    {
        layers = [.. layers.Where(l => l.Kept.Length > 0)];
        int most = layers.Max(l => Math.Max(l.Entered, l.Kept.Max()));
        int bin = BinWidth(most);
        page.Add($"<div class=\"small-multiples\">");
        for (int i = 0; i < layers.Count; i++) DrawLayer(page, layers[i], most, bin, Chart.Series(i));
        page.Add($"</div>");
    }

    private static void DrawLayer(Markup page, TokenHistogram layer, int most, int bin, string series)
    {
        int[] images = new int[most / bin + 1];
        foreach (int kept in layer.Kept) images[Math.Clamp(kept, 0, most) / bin]++;
        double mean = layer.Kept.Average(), tallest = images.Max();
        var x = new Axis(0, images.Length * bin, Left, Right, 4, tight: true);
        double Height(double count) => count / tallest * (Bottom - Top);

        page.Add($"<figure class=\"chart\"><figcaption>{layer.LayerName}</figcaption>");
        page.Add($"<p class=\"stat\"><b>{Figures.Tokens(mean)}</b> tokens on average");
        if (layer.Entered > 0) page.Add($", {Figures.Percent(mean / layer.Entered, 0)} of {layer.Entered}");
        page.Add($"</p><svg class=\"plot\" viewBox=\"0 0 {Width} {Histogram.Height}\" role=\"img\" ");
        page.Add($"aria-label=\"{layer.LayerName}: tokens kept\">");
        for (int b = 0; b < images.Length; b++)
        {
            if (images[b] == 0) continue;
            int first = b * bin, last = Math.Min(first + bin - 1, most);
            string tip = (bin == 1 || first == last ? $"{first} tokens" : $"{first} to {last} tokens") + "\n"
                + Figures.Count(images[b]) + (images[b] == 1 ? " image" : " images");
            double left = x[first] + 0.5, width = Math.Max(x[first + bin] - x[first] - 1, 0.5);
            page.Add($"<rect class=\"bar {series}\" x=\"{left}\" y=\"{Bottom - Height(images[b])}\" width=\"{width}\" ")
                .Add($"height=\"{Height(images[b])}\" data-tip=\"{tip}\"><title>{tip}</title></rect>");
        }
        foreach (double tick in x.Ticks)
            page.Add($"<path class=\"tick\" d=\"M{x[tick]} {Bottom}v4\"/>")
                .Add($"<text x=\"{x[tick]}\" y=\"{Bottom + 17}\" text-anchor=\"{(tick == 0 ? "start" : "middle")}\">")
                .Add($"{x.Label(tick)}</text>");
        page.Add($"<path class=\"axis\" d=\"M{Left} {Bottom}H{Right}\"/>");
        double middle = x[mean + 0.5 * (bin == 1 ? 1 : 0)];
        page.Add($"<path class=\"mean\" d=\"M{middle} {Top}V{Bottom}\"/>");
        page.Add($"<text class=\"title\" x=\"{Right}\" y=\"{Bottom + 32}\" text-anchor=\"end\">")
            .Add($"tokens kept; height: images</text>");
        page.Add($"</svg></figure>");
    }

    private static int BinWidth(int most)
    {
        int[] widths = [1, 2, 4, 5, 10, 20, 25, 50, 100];
        return widths.FirstOrDefault(w => most / w < MostBins, most);
    }
}
