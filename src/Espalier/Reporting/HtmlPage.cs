using System.Security.Cryptography;
using System.Text;
using Espalier.Formats;

namespace Espalier.Reporting;

/// <summary>What all reports have around their sections: one file with style and script inside, light and dark.</summary>
internal static class HtmlPage
{
    private const string Script = "report.js", Style = "report.css";

    /// <summary>Writes the page, or leaves the file as it was.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public static void Write(string path, string html)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(html)));
    }

    /// <summary>The page as text.</summary>
    /// <param name="subtitle">One line of facts; empty for none.</param>
    /// <param name="commandLine">For the footer, as is <paramref name="version"/>; empty for none.</param>
    public static string Render(string title, string subtitle, string commandLine, string version, Action<Markup> draw)
    {
        var page = new Markup();
        Head(page, title, subtitle);
        page.Add($"<main>");
        draw(page);
        page.Add($"</main>");
        Foot(page, commandLine, version);
        return page.ToString();
    }

    /// <summary>A heading with its explanation, and what belongs under it.</summary>
    public static void Section(Markup page, string title, string explanation, Action<Markup> draw)
    {
        page.Add($"\n<section><div class=\"about\"><h2>{title}</h2><p>{explanation}</p></div><div class=\"content\">");
        draw(page);
        page.Add($"</div></section>");
    }

    private static void Head(Markup page, string title, string subtitle)
    {
        // The policy is a second lock behind the escaping: the only script that runs is the one whose hash is named here.
        string script = Resource(Script);
        string hash = Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(script)));
        string policy = $"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; "
            + "base-uri 'none'; form-action 'none'";
        page.Add($"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>")
            .Add($"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\"/>")
            .Add($"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>")
            .Add($"<meta name=\"color-scheme\" content=\"light dark\"/><title>{title}</title>")
            .Add($"<link rel=\"icon\" href=\"data:,\"/><style>").Verbatim(Resource(Style)).Add($"</style></head>\n<body>");
        page.Add($"<header><p class=\"mark\">Espalier</p><h1>{title}</h1>");
        if (subtitle.Length > 0) page.Add($"<p class=\"facts\">{subtitle}</p>");
        page.Add($"</header>");
    }

    private static void Foot(Markup page, string commandLine, string version)
    {
        page.Add($"\n<footer>");
        if (commandLine.Length > 0) page.Add($"<p>Made by</p><pre><code>{commandLine}</code></pre>");
        if (version.Length > 0) page.Add($"<p>{version}</p>");
        page.Add($"</footer><script>").Verbatim(Resource(Script)).Add($"</script></body></html>\n");
    }

    private static string Resource(string name)
    {
        using var stream = typeof(HtmlPage).Assembly.GetManifestResourceStream("Espalier.Reporting." + name)
            ?? throw new InvalidOperationException($"the resource {name} is not in the assembly");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
