namespace Espalier.Reporting;

/// <summary>The models compared, each number with its relation to the first row.</summary>
internal static class ResultTable
{
    public static void Draw(Markup page, IReadOnlyList<ReportRow> rows)
    {
        ReportRow first = rows[0], subject = Headline.Subject(rows);
        bool loss = rows.Any(r => r.Loss != null), speed = rows.Any(r => r.ImagesPerSecond > 0);
        bool tokens = rows.Any(r => r.TokensPerLayer is { Length: > 0 });
        page.Add($"<table class=\"results\"><thead><tr><th scope=\"col\">Model</th><th scope=\"col\">Accuracy</th>");
        if (loss) page.Add($"<th scope=\"col\">Loss</th>");
        page.Add($"<th scope=\"col\">Multiply-adds</th>");
        if (speed) page.Add($"<th scope=\"col\">Images / s</th>");
        if (tokens) page.Add($"<th scope=\"col\">Tokens</th>");
        page.Add($"</tr></thead><tbody>");
        foreach (var row in rows)
        {
            bool reference = ReferenceEquals(row, first);
            page.Add($"<tr{(ReferenceEquals(row, subject) ? Marked : Plain)}><th scope=\"row\" class=\"name\">{row.Name}</th>");
            Cell(page, "Accuracy", Figures.Percent(row.Accuracy, 2),
                reference ? null : Figures.Points(row.Accuracy - first.Accuracy, 2));
            if (loss) Cell(page, "Loss", row.Loss is { } value ? Figures.Fixed(value, 3) : "–", null);
            Compute(page, row, first);
            if (speed) Cell(page, "Images / s", row.ImagesPerSecond > 0 ? Figures.Significant(row.ImagesPerSecond) : "–",
                reference || row.ImagesPerSecond <= 0 ? null : Figures.Ratio(row.ImagesPerSecond / first.ImagesPerSecond));
            if (tokens) page.Add($"<td data-column=\"Tokens\" class=\"tokens\"><span>{Tokens(row.TokensPerLayer)}</span></td>");
            page.Add($"</tr>");
        }
        page.Add($"</tbody></table>");
    }

    private static Markup Marked { get; } = new Markup().Add($" class=\"subject\"");

    private static Markup Plain { get; } = new();

    private static void Cell(Markup page, string column, string value, string? relation)
    {
        page.Add($"<td data-column=\"{column}\"><span>{value}");
        if (relation != null) page.Add($" <i>{relation}</i>");
        page.Add($"</span></td>");
    }

    /// <summary>Multiply-adds with a bar as long as their share of the first row's, at most that long.</summary>
    private static void Compute(Markup page, ReportRow row, ReportRow first)
    {
        double share = first.MultiplyAdds > 0 ? row.MultiplyAdds / first.MultiplyAdds : double.NaN;
        page.Add($"<td data-column=\"Multiply-adds\"><span>{Figures.Si(row.MultiplyAdds)}");
        if (double.IsFinite(share))
            page.Add($" <i class=\"relation\"><svg class=\"share\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" ")
                .Add($"aria-hidden=\"true\"><rect class=\"all\" width=\"100\" height=\"4\"/>")
                .Add($"<rect class=\"part\" width=\"{Math.Clamp(share, 0, 1) * 100}\" height=\"4\"/></svg> ")
                .Add($"{Figures.Percent(share, 0)}</i>");
        page.Add($"</span></td>");
    }

    private static string Tokens(double[]? tokens) => tokens switch
    {
        null or [] => "–",
        { Length: <= 5 } => string.Join(" →\u00A0", tokens.Select(Figures.Tokens)),
        _ => Figures.Tokens(tokens[0]) + " … " + Figures.Tokens(tokens[^1]),
    };
}
