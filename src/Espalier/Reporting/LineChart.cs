namespace Espalier.Reporting;

/// <summary>Curves over steps: axes, a legend with the last values, and the value under the pointer.</summary>
internal static class LineChart
{
    private const double Width = 440, Height = 244, Left = 50, Right = 424, Top = 12, Bottom = 206, Margin = 6;

    /// <summary>Draws nothing where no value is finite.</summary>
    public static void Draw(Markup page, string title, IReadOnlyList<Curve> curves)
    {
        curves = [.. curves.Where(c => c.Points.Any(IsFinite))];
        var points = curves.SelectMany(c => c.Points).Where(IsFinite).ToList();
        if (points.Count == 0) return;
        var x = new Axis(points.Min(p => p.Step), points.Max(p => p.Step), Left, Right, 5, tight: true);
        var (low, high) = Range(points);
        var y = new Axis(low, high, Bottom, Top, 5, format: curves[0].Format);

        page.Add($"<figure class=\"chart\"><figcaption>{title}</figcaption>");
        Legend(page, curves);
        page.Add($"<svg class=\"plot\" viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"{title}\" ")
            .Add($"data-hover=\"{Chart.HoverData(curves, x, y)}\" data-top=\"{Top}\" data-bottom=\"{Bottom}\">");
        Chart.Frame(page, x, y, "step");
        // A nested svg cuts off what leaves the plot area.
        double left = Left - Margin, top = Top - Margin, width = Right - Left + 2 * Margin, height = Bottom - Top + 2 * Margin;
        page.Add($"<svg x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" ")
            .Add($"viewBox=\"{left} {top} {width} {height}\">");
        for (int i = 0; i < curves.Count; i++)
            if (Smoothing.IsLong(curves[i])) DrawPath(page, "line faint " + Chart.Series(i), Smoothing.Thin(curves[i].Points, x), x, y);
        for (int i = 0; i < curves.Count; i++)
        {
            var shown = Smoothing.Shown(curves[i]);
            DrawPath(page, "line " + Chart.Series(i), shown, x, y);
            var last = shown.Last(IsFinite);
            page.Add($"<circle class=\"dot {Chart.Series(i)}\" cx=\"{x[last.Step]}\" cy=\"{y[last.Value]}\" r=\"3.5\"/>");
        }
        page.Add($"</svg></svg>");
        if (curves.Any(Smoothing.IsLong)) page.Add($"<p class=\"note\">Faint: every recorded value. Bold: moving mean.</p>");
        page.Add($"</figure>");
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
            page.Add($"<li><svg class=\"key\" viewBox=\"0 0 18 8\"><path class=\"line {Chart.Series(i)}\" d=\"M1 4H17\"/></svg>")
                .Add($"<span class=\"name\">{curves[i].Name}</span> <b>{Figures.Value(last, curves[i].Format)}</b></li>");
        }
        page.Add($"</ul>");
    }

    /// <summary>What the axis spans. A few values far above the rest, such as a first loss, must not flatten the rest.</summary>
    private static (double Low, double High) Range(List<CurvePoint> points)
    {
        var values = points.Select(p => p.Value).Order().ToList();
        double low = values[0], high = values[^1], usual = values[(int)(0.98 * (values.Count - 1))];
        bool spike = values.Count > 50 && usual > low && high - low > 4 * (usual - low);
        return (low, spike ? usual + 0.5 * (usual - low) : high);
    }
}
