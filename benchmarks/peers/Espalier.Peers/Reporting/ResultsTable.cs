using System.Text;

namespace Espalier.Peers;

/// <summary>The rows as Markdown, a table a section.</summary>
internal static class ResultsTable
{
    /// <param name="reasons">Why rows fall short, by name.</param>
    public static string Markdown(IReadOnlyList<RowResult> rows, IReadOnlyDictionary<string, string> reasons)
    {
        var text = new StringBuilder();
        foreach (var section in rows.GroupBy(r => r.Section))
        {
            text.Append("### ").Append(section.Key).Append("\n\n");
            text.Append("| what | Espalier | against | figure | aim | |\n| --- | ---: | ---: | ---: | ---: | --- |\n");
            foreach (RowResult row in section)
                text.Append($"| {row.Name} | {row.Ours} | {row.Theirs} | {row.Figure} | {row.Aim} | {Word(row.Verdict)} |\n");
            text.Append('\n');
            foreach (RowResult row in section.Where(r => r.Verdict == Verdict.FallsShort && reasons.ContainsKey(r.Key)))
                text.Append($"- *{row.Name}*: {reasons[row.Key]}\n");
            if (text[^2] != '\n') text.Append('\n');
        }
        return text.ToString();
    }

    /// <summary>A row as it is printed while the run goes on.</summary>
    public static string Line(RowResult row)
    {
        string[] cells = [row.Name, row.Ours, row.Theirs, row.Figure, row.Aim, Word(row.Verdict)];
        return string.Join("  ", cells.Where(s => s.Length > 0));
    }

    private static string Word(Verdict verdict) => verdict switch
    {
        Verdict.Pass => "pass",
        Verdict.FallsShort => "falls short",
        Verdict.NotAvailable => "not available",
        _ => "",
    };
}
