using System.Text;
using Espalier.Formats;

namespace Espalier.Reproduce;

/// <summary>The page of results, a section for each thing that `reproduce` knows.</summary>
internal static class ResultsPage
{
    private const string Title = "# Results\n";
    private const int Most = 1 << 24;

    /// <summary>
    /// Writes a section, which begins with a heading "## ...", in place of the one of that heading; other sections of the file
    /// stay as they are. A file that is not there is begun.
    /// </summary>
    public static void Write(string path, string section)
    {
        string page = File.Exists(path) ? SmallFile.ReadText(path, Most, "a page of results").ReplaceLineEndings("\n") : Title;
        string text = Replaced(page, section.ReplaceLineEndings("\n").Trim('\n') + "\n");
        AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)));
    }

    internal static string Replaced(string page, string section)
    {
        string heading = section[..section.IndexOf('\n')];
        List<string> parts = Sections(page);
        int at = parts.FindIndex(p => p.StartsWith(heading + "\n", StringComparison.Ordinal));
        if (at < 0) parts.Add(section);
        else parts[at] = section;
        return string.Join('\n', parts.Select(p => p.TrimEnd('\n') + "\n"));
    }

    /// <summary>What stands before the first section, then each section.</summary>
    private static List<string> Sections(string page)
    {
        var parts = new List<string> { "" };
        bool code = false;
        foreach (string line in page.TrimEnd('\n').Split('\n'))
        {
            if (line.StartsWith("```", StringComparison.Ordinal)) code = !code;
            if (!code && line.StartsWith("## ", StringComparison.Ordinal)) parts.Add("");
            parts[^1] += line + "\n";
        }
        return parts;
    }
}
