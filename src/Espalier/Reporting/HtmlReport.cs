using System.Security.Cryptography;
using System.Text;

namespace Espalier.Reporting;

/// <summary>
/// Writes a report as one HTML file that needs nothing else: no network, no other file, and no script except to show values
/// under the pointer. The markup is well-formed XML too.
/// </summary>
public static class HtmlReport
{
    private const string Script = "report.js", Style = "report.css";

    /// <summary>Writes through a temporary file beside the target, so that no half report is left behind.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public static void Write(string path, ReportData data)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        string html = Render(data), part = path + ".part";
        try
        {
            File.WriteAllText(part, html, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false));
            File.Move(part, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (File.Exists(part)) File.Delete(part);
            throw new EspalierException($"{path}: cannot write the report: {e.Message}", e);
        }
    }

    /// <summary>The page as text. Sections without data are left out.</summary>
    /// <exception cref="ArgumentException">A gallery names a token that is not in its grid.</exception>
    public static string Render(ReportData data)
    {
        ArgumentNullException.ThrowIfNull(data);
        var page = new Markup();
        Head(page, data);
        page.Add($"<main>");
        if (data.Rows.Count > 0)
        {
            Headline.Draw(page, data.Rows);
            Section(page, "Comparison", "Ratios are against the first row. Multiply-adds are the mean over the images, "
                + "since each image keeps its own number of tokens.", content => ResultTable.Draw(content, data.Rows));
        }
        if (data.TradeOff.Count > 0)
            Section(page, "Trade-off", "One trained model at several thresholds: a token is dropped when its agent is surer than "
                + "the threshold that it is worthless. Up and to the left is better.",
                content => TradeOffChart.Draw(content, data.TradeOff, data.Rows.FirstOrDefault()));
        if (data.Curves.Any(c => c.Points.Any(p => double.IsFinite(p.Value))))
            Section(page, "Training", "Values over the optimiser's steps. The number beside a name is its last value. "
                + "A steep start may leave the chart.", content =>
            {
                content.Add($"<div class=\"charts\">");
                foreach (var panel in data.Curves.GroupBy(c => c.Panel)) LineChart.Draw(content, panel.Key, [.. panel]);
                content.Add($"</div>");
            });
        if (data.Tokens.Any(t => t.Kept.Length > 0))
            Section(page, "Tokens kept", "Every image keeps its own number of tokens. The dashed line is the mean.",
                content => Histogram.Draw(content, data.Tokens));
        if (data.Gallery.Count > 0)
            Section(page, "What was pruned", "Veiled patches are gone: later layers do not compute them at all. "
                + "The number under a picture counts the tokens left.", content => Gallery.Draw(content, data.Gallery));
        page.Add($"</main>");
        Foot(page, data);
        return page.ToString();
    }

    private static void Head(Markup page, ReportData data)
    {
        // The policy is a second lock behind the escaping: the only script that runs is the one whose hash is named here.
        string script = Resource(Script);
        string hash = Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(script)));
        string policy = $"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; "
            + "base-uri 'none'; form-action 'none'";
        page.Add($"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>")
            .Add($"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\"/>")
            .Add($"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>")
            .Add($"<meta name=\"color-scheme\" content=\"light dark\"/><title>{data.Title}</title>")
            .Add($"<link rel=\"icon\" href=\"data:,\"/><style>").Verbatim(Resource(Style)).Add($"</style></head>\n<body>");
        page.Add($"<header><p class=\"mark\">Espalier</p><h1>{data.Title}</h1>");
        if (data.Subtitle.Length > 0) page.Add($"<p class=\"facts\">{data.Subtitle}</p>");
        page.Add($"</header>");
    }

    private static void Section(Markup page, string title, string explanation, Action<Markup> draw)
    {
        page.Add($"\n<section><div class=\"about\"><h2>{title}</h2><p>{explanation}</p></div><div class=\"content\">");
        draw(page);
        page.Add($"</div></section>");
    }

    private static void Foot(Markup page, ReportData data)
    {
        page.Add($"\n<footer>");
        if (data.CommandLine.Length > 0) page.Add($"<p>Made by</p><pre><code>{data.CommandLine}</code></pre>");
        if (data.Version.Length > 0) page.Add($"<p>{data.Version}</p>");
        page.Add($"</footer><script>").Verbatim(Resource(Script)).Add($"</script></body></html>\n");
    }

    private static string Resource(string name)
    {
        using var stream = typeof(HtmlReport).Assembly.GetManifestResourceStream("Espalier.Reporting." + name)
            ?? throw new InvalidOperationException($"the resource {name} is not in the assembly");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
