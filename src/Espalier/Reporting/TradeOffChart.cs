namespace Espalier.Reporting;

/// <summary>Accuracy over compute: one point a threshold, and the unpruned model as a line to measure them against.</summary>
internal static class TradeOffChart
{
    private const double Width = 460, Height = 320, Left = 54, Right = 440, Top = 16, Bottom = 280;

    public static void Draw(Markup page, IReadOnlyList<TradeOffPoint> points, ReportRow? reference)
    {
        points = [.. points.Where(p => double.IsFinite(p.Accuracy) && double.IsFinite(p.ComputeShare))
            .OrderBy(p => p.ComputeShare)];
        if (points.Count == 0) return;
        double? unpruned = reference is { } r && double.IsFinite(r.Accuracy) ? r.Accuracy : null;
        double low = points.Min(p => p.Accuracy), high = points.Max(p => p.Accuracy);
        double least = points.Min(p => p.ComputeShare), most = points.Max(p => p.ComputeShare);
        if (unpruned is { } u) (low, high, most) = (Math.Min(low, u), Math.Max(high, u), Math.Max(most, 1));
        var x = new Axis(least, most, Left, Right, 5, format: ValueFormat.Percent);
        var y = new Axis(low, high, Bottom, Top, 5, format: ValueFormat.Percent);

        page.Add($"<div class=\"pair\"><figure class=\"chart\">");
        page.Add($"<svg class=\"plot\" viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"Accuracy over compute\">");
        Chart.Frame(page, x, y, "multiply-adds, share of the unpruned model; the labels are thresholds");
        if (unpruned is { } full)
        {
            page.Add($"<path class=\"reference\" d=\"M{Left} {y[full]}H{Right}\"/>");
            string tip = reference!.Name + "\nunpruned: " + Figures.Percent(full, 2);
            page.Add($"<circle class=\"dot hollow\" cx=\"{x[1]}\" cy=\"{y[full]}\" r=\"5\" data-tip=\"{tip}\">")
                .Add($"<title>{tip}</title></circle>");
        }
        page.Add($"<path class=\"line s0\" d=\"{Chart.Path(points.Select(p => (x[p.ComputeShare], y[p.Accuracy])))}\"/>");
        foreach (var p in points)
        {
            string tip = $"threshold {Figures.Threshold(p.Threshold)}\naccuracy {Figures.Percent(p.Accuracy, 2)}\n"
                + $"multiply-adds {Figures.Percent(p.ComputeShare)}";
            page.Add($"<circle class=\"dot s0\" cx=\"{x[p.ComputeShare]}\" cy=\"{y[p.Accuracy]}\" r=\"5\" data-tip=\"{tip}\">")
                .Add($"<title>{tip}</title></circle>");
        }
        Labels(page, points, x, y);
        page.Add($"</svg></figure>");
        Table(page, points, unpruned);
        page.Add($"</div>");
    }

    /// <summary>
    /// Threshold labels, left out where they would touch the one before. They stand above to the left, where a curve that
    /// rises and then flattens leaves room; the first, at the axis, to the right.
    /// </summary>
    private static void Labels(Markup page, IReadOnlyList<TradeOffPoint> points, Axis x, Axis y)
    {
        const double room = 34;
        double last = double.NegativeInfinity;
        foreach (var p in points)
        {
            double at = x[p.ComputeShare], height = y[p.Accuracy];
            if (at - last < room) continue;
            bool beside = at - Left < room;
            page.Add($"<text class=\"label\" x=\"{(beside ? at + 10 : at - 5)}\" y=\"{(beside ? height + 4 : height - 9)}\" ")
                .Add($"text-anchor=\"{(beside ? "start" : "end")}\">{Figures.Threshold(p.Threshold)}</text>");
            last = at;
        }
    }

    private static void Table(Markup page, IReadOnlyList<TradeOffPoint> points, double? unpruned)
    {
        page.Add($"<table class=\"small\"><thead><tr><th scope=\"col\">Threshold</th><th scope=\"col\">Compute</th>")
            .Add($"<th scope=\"col\">Accuracy</th></tr></thead><tbody>");
        foreach (var p in points.OrderByDescending(p => p.ComputeShare))
        {
            page.Add($"<tr><td>{Figures.Threshold(p.Threshold)}</td><td>{Figures.Percent(p.ComputeShare)}</td>");
            page.Add($"<td>{Figures.Percent(p.Accuracy, 2)}");
            if (unpruned is { } u) page.Add($" <i>{Figures.Points(p.Accuracy - u, 2)}</i>");
            page.Add($"</td></tr>");
        }
        page.Add($"</tbody></table>");
    }
}
