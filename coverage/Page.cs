namespace Espalier.Coverage;

/// <summary>A table in a page of the documentation, between two marks.</summary>
internal static class Page
{
    /// <summary>Puts lines in the place of those between <c>&lt;!-- mark --&gt;</c> and <c>&lt;!-- /mark --&gt;</c>.</summary>
    public static void Write(string path, string mark, IEnumerable<string> lines)
    {
        List<string> page = [.. File.ReadAllLines(path)];
        (int first, int last) = Place(page, mark, path);
        page.RemoveRange(first + 1, last - first - 1);
        page.InsertRange(first + 1, lines);
        File.WriteAllLines(path, page);
    }

    public static IReadOnlyList<string> Read(string path, string mark)
    {
        List<string> page = [.. File.ReadAllLines(path)];
        (int first, int last) = Place(page, mark, path);
        return page[(first + 1)..last];
    }

    private static (int First, int Last) Place(List<string> page, string mark, string path)
    {
        int first = page.IndexOf($"<!-- {mark} -->"), last = page.IndexOf($"<!-- /{mark} -->");
        return first >= 0 && last > first ? (first, last) : throw new InvalidDataException($"{path} has no marks '{mark}'");
    }
}
