namespace Espalier.Reporting;

/// <summary>The few numbers a reader came for, large, each with what it is measured against.</summary>
internal static class Headline
{
    public static void Draw(Markup page, IReadOnlyList<ReportRow> rows)
    {
        ReportRow first = rows[0], row = Subject(rows);
        bool compare = !ReferenceEquals(first, row);
        page.Add($"<dl class=\"headline\">");
        Figure(page, Figures.Percent(row.Accuracy), "accuracy",
            compare ? Figures.Points(row.Accuracy - first.Accuracy) + " points against " + first.Name : row.Name);
        if (compare && first.MultiplyAdds > 0)
            Figure(page, Figures.Percent(row.MultiplyAdds / first.MultiplyAdds, 0), "of the multiply-adds",
                $"{Figures.Si(row.MultiplyAdds)} an image instead of {Figures.Si(first.MultiplyAdds)}");
        else Figure(page, Figures.Si(row.MultiplyAdds), "multiply-adds", "an image");
        if (row.ImagesPerSecond > 0)
        {
            bool speed = compare && first.ImagesPerSecond > 0;
            string rate = Figures.Significant(row.ImagesPerSecond);
            if (speed) Figure(page, Figures.Ratio(row.ImagesPerSecond / first.ImagesPerSecond), "the speed",
                $"{rate} images a second instead of {Figures.Significant(first.ImagesPerSecond)}");
            else Figure(page, rate, "images a second", "measured");
        }
        if (row.TokensPerLayer is { Length: > 1 } tokens && tokens[0] > 0)
            Figure(page, Figures.Percent(tokens[^1] / tokens[0], 0), "of the tokens left",
                $"{Figures.Tokens(tokens[^1])} of {Figures.Tokens(tokens[0])} after the last pruning layer");
        page.Add($"</dl>");
    }

    /// <summary>The model that the report is about.</summary>
    public static ReportRow Subject(IReadOnlyList<ReportRow> rows) => rows.FirstOrDefault(r => r.Highlight) ?? rows[^1];

    /// <param name="remark">What it is measured against.</param>
    internal static void Figure(Markup page, string value, string name, string remark) =>
        page.Add($"<div><dt>{name}</dt><dd class=\"value\">{value}</dd><dd class=\"remark\">{remark}</dd></div>");
}
