using Espalier.Formats;

namespace Espalier.Reproduce;

/// <summary>The page of results, a section for each thing that `reproduce` knows.</summary>
internal static class ResultsPage
{
    private const string Title = "# Results\n";
    private const int Most = 1 << 24;

    /// <summary>
    /// Writes a section, which begins with a heading "## ...", in place of the one of that heading; other sections of the file
    /// stay as they are. A file that is not there is begun. Where nothing stands between that heading and the section's first part,
    /// "### ...", it is of parts alone: each takes the place of the part of its heading, and what else the section has stays.
    /// </summary>
    public static void Write(string path, string section)
    {
        string page = File.Exists(path) ? SmallFile.ReadText(path, Most, "a page of results").ReplaceLineEndings("\n") : Title;
        string text = Replaced(page, section.ReplaceLineEndings("\n").Trim('\n') + "\n");
        AtomicFile.WriteText(path, text);
    }

    internal static string Replaced(string page, string section)
    {
        List<string> sections = Split(page, "## ");
        Put(sections, section, merged: true);
        return Joined(sections);
    }

    /// <summary>Puts a part in the place of the one of the same heading, or behind all.</summary>
    private static void Put(List<string> parts, string part, bool merged = false)
    {
        string heading = part[..(part.IndexOf('\n') + 1)];
        int at = parts.FindIndex(p => p.StartsWith(heading, StringComparison.Ordinal));
        if (at < 0) parts.Add(part);
        else parts[at] = merged ? Merged(parts[at], part, heading) : part;
    }

    private static string Merged(string old, string section, string heading)
    {
        List<string> parts = Split(section, "### ");
        if (parts.Count == 1 || parts[0].Trim() != heading.Trim()) return section;
        List<string> all = Split(old, "### ");
        foreach (string part in parts.Skip(1)) Put(all, part);
        return Joined(all);
    }

    private static string Joined(List<string> parts) => string.Join('\n', parts.Select(p => p.TrimEnd('\n') + "\n"));

    /// <summary>What stands before the first heading of a kind, then each with what follows it.</summary>
    private static List<string> Split(string page, string mark)
    {
        var parts = new List<string> { "" };
        bool code = false;
        foreach (string line in page.TrimEnd('\n').Split('\n'))
        {
            if (line.StartsWith("```", StringComparison.Ordinal)) code = !code;
            if (!code && line.StartsWith(mark, StringComparison.Ordinal)) parts.Add("");
            parts[^1] += line + "\n";
        }
        return parts;
    }
}
