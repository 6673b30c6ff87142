namespace Espalier.Reporting;

/// <summary>Which class was taken for which: a matrix of few classes, the most frequent confusions of many.</summary>
internal static class ConfusionTable
{
    private const int MostDrawn = 20, MostListed = 15;
    private const int Shades = 14;

    public static string Explanation(Confusion data) => data.Classes.Count <= MostDrawn
        ? "A row is what the images are, a column, in the order of the rows, what they were taken for. The darker, the larger "
            + "the share of the row."
        : $"The {MostListed} most frequent ones of {data.Classes.Count} classes.";

    public static void Draw(Markup page, Confusion data)
    {
        if (data.Classes.Count <= MostDrawn) Matrix(page, data);
        else Pairs(page, data);
    }

    private static void Matrix(Markup page, Confusion data)
    {
        IReadOnlyList<string> names = data.Classes;
        page.Add($"<table class=\"small confusion\"><thead><tr><th scope=\"col\">Class</th>");
        for (int c = 0; c < names.Count; c++) page.Add($"<th scope=\"col\" title=\"{names[c]}\">{c}</th>");
        page.Add($"</tr></thead><tbody>");
        for (int label = 0; label < names.Count; label++)
        {
            long images = data.Counts.Images(label);
            page.Add($"<tr><th scope=\"row\">{label} <span class=\"name\">{names[label]}</span></th>");
            for (int taken = 0; taken < names.Count; taken++)
            {
                long count = data.Counts.Of(label, taken);
                // Classes of the style sheet: the page's policy forbids styles in its elements.
                string kind = taken == label ? "hit" : "miss";
                int shade = images == 0 ? 0 : (int)Math.Ceiling((double)Shades * count / images);
                page.Add($"<td class=\"{kind} shade{shade}\">");
                if (count > 0) page.Add($"{Figures.Fixed(count, 0)}");
                page.Add($"</td>");
            }
            page.Add($"</tr>");
        }
        page.Add($"</tbody></table>");
    }

    private static void Pairs(Markup page, Confusion data)
    {
        int n = data.Classes.Count;
        var pairs = Enumerable.Range(0, n).SelectMany(label => Enumerable.Range(0, n).Where(taken => taken != label)
                .Select(taken => (Label: label, Taken: taken, Count: data.Counts.Of(label, taken))))
            .Where(p => p.Count > 0).OrderByDescending(p => p.Count).Take(MostListed);
        page.Add($"<table class=\"small\"><thead><tr><th scope=\"col\">Class</th><th scope=\"col\">Taken for</th>")
            .Add($"<th scope=\"col\">Images</th><th scope=\"col\">Share of the class</th></tr></thead><tbody>");
        foreach (var (label, taken, count) in pairs)
            page.Add($"<tr><td class=\"name\">{data.Classes[label]}</td><td class=\"name\">{data.Classes[taken]}</td>")
                .Add($"<td>{Figures.Fixed(count, 0)}</td>")
                .Add($"<td>{Figures.Percent((double)count / data.Counts.Images(label), 0)}</td></tr>");
        page.Add($"</tbody></table>");
    }
}
