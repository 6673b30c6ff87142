namespace Espalier.Reporting;

/// <summary>
/// Writes a report as one HTML file that needs nothing else: no network, no other file, and no script except to show values
/// under the pointer. The markup is well-formed XML too.
/// </summary>
public static class HtmlReport
{
    /// <summary>Writes through a temporary file beside the target, so that no half report is left behind.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public static void Write(string path, ReportData data) => HtmlPage.Write(path, Render(data));

    /// <summary>The page as text. Sections without data are left out.</summary>
    /// <exception cref="ArgumentException">A gallery names a token that is not in its grid.</exception>
    public static string Render(ReportData data)
    {
        ArgumentNullException.ThrowIfNull(data);
        return HtmlPage.Render(data.Title, data.Subtitle, data.CommandLine, data.Version, page => Draw(page, data));
    }

    private static void Draw(Markup page, ReportData data)
    {
        if (data.Rows.Count > 0)
        {
            Headline.Draw(page, data.Rows);
            string mean = data.Rows.Any(r => r.TokensPerLayer is { Length: > 1 })
                ? " Multiply-adds are the mean over the images, since each image keeps its own number of tokens." : "";
            HtmlPage.Section(page, "Comparison", "Ratios are against the first row." + mean,
                content => ResultTable.Draw(content, data.Rows));
        }
        if (data.TradeOff.Count > 0)
            HtmlPage.Section(page, "Trade-off", "One trained model at several thresholds: a token is dropped when its agent is surer "
                + "than the threshold that it is worthless. Up and to the left is better.",
                content => TradeOffChart.Draw(content, data.TradeOff, data.Unpruned ?? data.Rows.FirstOrDefault()));
        LineChart.Section(page, data.Curves);
        if (data.Tokens.Any(t => t.Kept.Length > 0))
            HtmlPage.Section(page, "Tokens kept", "Every image keeps its own number of tokens. The dashed line is the mean.",
                content => Histogram.Draw(content, data.Tokens));
        if (data.Confusion is { } confusion)
            HtmlPage.Section(page, "Confusions", ConfusionTable.Explanation(confusion),
                content => ConfusionTable.Draw(content, confusion));
        if (data.Gallery.Count > 0 && data.Gallery.All(i => i.Stages.Count == 0))
            HtmlPage.Section(page, "Right and wrong", "The first picture of a class that was recognised, and the first that was "
                + "taken for another, as the network sees them.", content => Gallery.Draw(content, data.Gallery));
        else if (data.Gallery.Count > 0)
            HtmlPage.Section(page, "What was pruned", "Veiled patches are gone: later layers do not compute them at all. "
                + "The number under a picture counts the tokens left.", content => Gallery.Draw(content, data.Gallery));
    }
}
