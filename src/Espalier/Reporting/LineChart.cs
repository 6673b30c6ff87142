namespace Espalier.Reporting;

/// <summary>Curves over steps: axes, a legend with the last values, and the value under the pointer.</summary>
internal static class LineChart
{
    private const double Width = 440, Height = 244, Left = 50, Right = 424, Top = 12, Bottom = 206, Margin = 2;

    /// <summary>The section with all curves, one chart a panel; nothing where no value is finite.</summary>
    public static void Section(Markup page, IReadOnlyList<Curve> curves)
    {
        if (!curves.Any(c => c.Points.Any(p => double.IsFinite(p.Value)))) return;
        HtmlPage.Section(page, "Training", "Values over the optimiser's steps. The number beside a name is its last value. "
            + "A steep start may leave the chart.", content =>
        {
            content.Add($"<div class=\"charts\">");
            foreach (var panel in curves.GroupBy(c => c.Panel)) Draw(content, panel.Key, [.. panel]);
            content.Add($"</div>");
        });
    }

    /// <summary>Draws nothing where no value is finite.</summary>
    public static void Draw(Markup page, string title, IReadOnlyList<Curve> curves)
    {
        curves = [.. curves.Where(c => c.Points.Any(IsFinite))];
        var points = curves.SelectMany(c => c.Points).Where(IsFinite).ToList();
        if (points.Count == 0) return;
        double first = points.Min(p => p.Step), last = points.Max(p => p.Step);
        var x = new Axis(first > 0 && first < last / 5 ? 0 : first, last, Left, Right, 5, tight: true);
        var (low, high) = Range(points);
        var y = new Axis(low, high, Bottom, Top, 5, format: curves[0].Format);

        page.Add($"<figure class=\"chart\"><figcaption>{title}");
        if (curves.Any(Smoothing.IsLong)) page.Add($" <span class=\"note\">moving mean; faint: every value</span>");
        page.Add($"</figcaption>");
        Legend(page, curves);
        page.Add($"<svg class=\"plot\" viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"{title}\" ")
            .Add($"data-hover=\"{Chart.HoverData(curves, x, y)}\" data-top=\"{Top}\" data-bottom=\"{Bottom}\">");
        Chart.Frame(page, x, y, "step");
        // A nested svg cuts off what leaves the plot area.
        double left = Left - Margin, top = Top - Margin, width = Right - Left + 2 * Margin, height = Bottom - Top + 2 * Margin;
        page.Add($"<svg x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" ")
            .Add($"viewBox=\"{left} {top} {width} {height}\">");
        for (int i = 0; i < curves.Count; i++)
            if (Smoothing.IsLong(curves[i]))
                DrawPath(page, "line faint " + Chart.Series(i), Smoothing.Thin(curves[i].Points, x), x, y);
        for (int i = 0; i < curves.Count; i++)
            DrawPath(page, "line " + Chart.Series(i), Smoothing.Shown(curves[i]), x, y);
        page.Add($"</svg>");
        for (int i = 0; i < curves.Count; i++) EndDot(page, Smoothing.Shown(curves[i]).Last(IsFinite), Chart.Series(i), x, y);
        page.Add($"</svg></figure>");
    }

    private static void EndDot(Markup page, CurvePoint last, string series, Axis x, Axis y)
    {
        if (last.Value >= y.Min && last.Value <= y.Max)
            page.Add($"<circle class=\"dot {series}\" cx=\"{x[last.Step]}\" cy=\"{y[last.Value]}\" r=\"3.5\"/>");
    }

    private static bool IsFinite(CurvePoint p) => double.IsFinite(p.Step) && double.IsFinite(p.Value);

    private static void DrawPath(Markup page, string style, IReadOnlyList<CurvePoint> points, Axis x, Axis y) =>
        page.Add($"<path class=\"{style}\" d=\"{Chart.Path(points.Select(p => (x[p.Step], y[p.Value])))}\"/>");

    private static void Legend(Markup page, IReadOnlyList<Curve> curves)
    {
        page.Add($"<ul class=\"legend\">");
        for (int i = 0; i < curves.Count; i++)
        {
            double last = Smoothing.Shown(curves[i]).Last(IsFinite).Value;
            page.Add($"<li><svg class=\"key\" viewBox=\"0 0 27 8\"><path class=\"line {Chart.Series(i)}\" d=\"M1 4H26\"/></svg>")
                .Add($"<span class=\"name\">{curves[i].Name}</span> <b>{Figures.Value(last, curves[i].Format)}</b></li>");
        }
        page.Add($"</ul>");
    }

    /// <summary>
    /// What the axis spans: everything, unless the first fifth of the steps would press the rest into less than a third of
    /// the height. Then those values leave the chart, and so do the rarest of many.
    /// </summary>
    private static (double Low, double High) Range(List<CurvePoint> points)
    {
        double low = points.Min(p => p.Value), high = points.Max(p => p.Value);
        double first = points.Min(p => p.Step), last = points.Max(p => p.Step);
        var settled = points.Where(p => p.Step >= first + 0.2 * (last - first)).Select(p => p.Value).Order().ToList();
        int rare = settled.Count / 200;
        double usualLow = settled[rare], usualHigh = settled[^(rare + 1)], room = 0.15 * (usualHigh - usualLow);
        bool pressed = settled.Count >= 8 && usualHigh > usualLow && 3 * (usualHigh - usualLow) < high - low;
        return pressed ? (Math.Max(low, usualLow - room), Math.Min(high, usualHigh + room)) : (low, high);
    }
}
