using Espalier.Compression;

namespace Espalier.Reporting;

/// <summary>A <see cref="SensitivityReport"/> as a page: a curve a layer.</summary>
internal static class SensitivityPage
{
    private const double Width = 236, Height = 150, Left = 40, Right = 220, Top = 8, Bottom = 116;

    public static string Render(SensitivityReport report) => HtmlPage.Render($"{report.Network}: how far each layer can go",
        string.Join(" · ", new[] { report.Dataset, $"channels scored by {report.Method}", report.Machine }
            .Where(s => s.Length > 0)),
        report.CommandLine, report.Version, page => Draw(page, report.Result));

    private static void Draw(Markup page, SensitivityResult result)
    {
        string points = Figures.Threshold(100 * result.Tolerance) + (result.Tolerance == 0.01 ? " point" : " points");
        page.Add($"<dl class=\"headline\">");
        Headline.Figure(page, Figures.Percent(result.Accuracy), "accuracy", "of the whole network");
        double share = (double)result.MultiplyAddsTogether / result.MultiplyAdds;
        Headline.Figure(page, Figures.Percent(share, 0), "of the multiply-adds",
            $"with every layer as far as it goes within {points}");
        Headline.Figure(page, Figures.Percent(result.AccuracyTogether), "accuracy then",
            "all layers together, before any training");
        page.Add($"</dl>");
        HtmlPage.Section(page, "Layers", $"Accuracy over the share of a layer's channels that is removed, alone and "
            + $"without training. The dashed line is {points} below the whole network; the ring is the largest share "
            + "above it.", content =>
            {
                double low = Math.Min(result.Accuracy - result.Tolerance, result.Groups.Min(g => g.Points.Min(p => p.Accuracy)));
                double high = Math.Max(result.Accuracy, result.Groups.Max(g => g.Points.Max(p => p.Accuracy)));
                var y = new Axis(low, high, Bottom, Top, 4, format: ValueFormat.Percent);
                content.Add($"<div class=\"small-multiples\">");
                foreach (GroupSensitivity group in result.Groups) Curve(content, group, result, y);
                content.Add($"</div>");
            });
    }

    private static void Curve(Markup page, GroupSensitivity group, SensitivityResult result, Axis y)
    {
        var x = new Axis(0, 1, Left, Right, 4, tight: true, format: ValueFormat.Percent);
        SensitivityPoint[] points = [new(0, 0, result.Accuracy), .. group.Points];
        SensitivityPoint most = points.Last(p => p.Ratio <= group.Most);
        page.Add($"<figure class=\"chart\"><figcaption class=\"name\">{group.Name}</figcaption>")
            .Add($"<p class=\"stat\"><b>{Figures.Percent(group.Most, 0)}</b> of {group.Channels} channels</p>")
            .Add($"<svg class=\"plot\" viewBox=\"0 0 {Width} {Height}\" role=\"img\" ")
            .Add($"aria-label=\"{group.Name}: accuracy over the share removed\">");
        Chart.Frame(page, x, y, "removed");
        double bound = y[result.Accuracy - result.Tolerance];
        page.Add($"<path class=\"reference\" d=\"M{Left} {bound}H{Right}\"/>")
            .Add($"<path class=\"line s0\" d=\"{Chart.Path(points.Select(p => (x[p.Ratio], y[p.Accuracy])))}\"/>");
        foreach (SensitivityPoint p in points)
        {
            string tip = $"{Figures.Percent(p.Ratio, 0)} removed ({Figures.Count(p.Removed)})\n"
                + $"accuracy {Figures.Percent(p.Accuracy, 2)}";
            page.Add($"<circle class=\"{(p == most ? "hollow" : "dot s0")}\" cx=\"{x[p.Ratio]}\" cy=\"{y[p.Accuracy]}\" ")
                .Add($"r=\"3.5\" data-tip=\"{tip}\"><title>{tip}</title></circle>");
        }
        page.Add($"</svg></figure>");
    }
}
