using System.Security.Cryptography;
using System.Text;
using Espalier.Formats;

namespace Espalier.Reporting;

/// <summary>What all pages have around their sections: one file with style and script inside, light and dark. Reports and the
/// page of the service share its look.</summary>
internal static class HtmlPage
{
    private const string Script = "report.js", Style = "report.css", Look = "look.css";

    /// <summary>Writes the page, or leaves the file as it was.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public static void Write(string path, string html)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        AtomicFile.WriteText(path, html);
    }

    /// <summary>The page as text.</summary>
    /// <param name="subtitle">One line of facts; empty for none.</param>
    /// <param name="commandLine">For the footer, as is <paramref name="version"/>; empty for none.</param>
    public static string Render(string title, string subtitle, string commandLine, string version, Action<Markup> draw) =>
        Document(title, Resource(Style), Resource(Script), "", page =>
        {
            Header(page, title, subtitle);
            page.Add($"<main>");
            draw(page);
            page.Add($"</main>");
            Foot(page, commandLine, version);
        });

    /// <summary>A heading with its explanation, and what belongs under it.</summary>
    public static void Section(Markup page, string title, string explanation, Action<Markup> draw)
    {
        page.Add($"\n<section><div class=\"about\"><h2>{title}</h2><p>{explanation}</p></div><div class=\"content\">");
        draw(page);
        page.Add($"</div></section>");
    }

    /// <summary>A whole document.</summary>
    /// <param name="style">What it has beyond the common look.</param>
    /// <param name="allowed">What its policy allows beyond its own style and script and pictures that are in it.</param>
    public static string Document(string title, string style, string script, string allowed, Action<Markup> body)
    {
        // The policy is a second lock behind the escaping: the only script that runs is the one whose hash is named here.
        style = Resource(Look) + style;
        string policy = $"default-src 'none'; img-src data:; style-src '{Hash(style)}'; script-src '{Hash(script)}'; "
            + "base-uri 'none'; form-action 'none'" + allowed;
        var page = new Markup();
        page.Add($"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>")
            .Add($"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\"/>")
            .Add($"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>")
            .Add($"<meta name=\"color-scheme\" content=\"light dark\"/><title>{title}</title>")
            .Add($"<link rel=\"icon\" href=\"data:,\"/><style>").Verbatim(style).Add($"</style></head>\n<body>");
        body(page);
        page.Add($"<script>").Verbatim(script).Add($"</script></body></html>\n");
        return page.ToString();
    }

    /// <summary>The heading, and one line of facts under it; empty for none.</summary>
    public static void Header(Markup page, string title, string facts)
    {
        page.Add($"<header><p class=\"mark\">Espalier</p><h1>{title}</h1>");
        if (facts.Length > 0) page.Add($"<p class=\"facts\">{facts}</p>");
        page.Add($"</header>");
    }

    private static void Foot(Markup page, string commandLine, string version)
    {
        page.Add($"\n<footer>");
        if (commandLine.Length > 0) page.Add($"<p>Made by</p><pre><code>{commandLine}</code></pre>");
        if (version.Length > 0) page.Add($"<p>{version}</p>");
        page.Add($"</footer>");
    }

    private static string Hash(string text) => "sha256-" + Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    private static string Resource(string name)
    {
        using var stream = typeof(HtmlPage).Assembly.GetManifestResourceStream("Espalier.Reporting." + name)
            ?? throw new InvalidOperationException($"the resource {name} is not in the assembly");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
