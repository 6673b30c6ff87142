using Espalier.Compression;

namespace Espalier.Reporting;

/// <summary>A picture a layer: the scores of its channels as bars in falling order, those that went pale and in another colour; the
/// range of their scores under the pointer.</summary>
internal static class ScoreChart
{
    private const double Width = 236, Height = 96, Left = 2, Right = 234, Top = 6, Bottom = 90;

    public static void Draw(Markup page, IReadOnlyList<ScoredGroup> groups)
    {
        page.Add($"<ul class=\"legend\">");
        Key(page, "s0", "kept");
        Key(page, "s1 gone", "removed");
        page.Add($"</ul>");
        page.Add($"<div class=\"small-multiples\">");
        foreach (ScoredGroup group in groups) DrawGroup(page, group);
        page.Add($"</div>");
    }

    private static void Key(Markup page, string series, string name) => page
        .Add($"<li><svg class=\"key {series}\" viewBox=\"0 0 27 8\">")
        .Add($"<rect class=\"bar\" width=\"27\" height=\"8\"/></svg> {name}</li>");

    private static void DrawGroup(Markup page, ScoredGroup group)
    {
        int count = group.Scores.Count;
        float[] finite = [.. group.Scores.Where(float.IsFinite)];
        if (finite.Length == 0) return;
        double high = Math.Max(finite.Max(), 0), low = Math.Min(finite.Min(), 0);
        if (high == low) high = low + 1;
        double Y(double score) => Bottom - (Math.Clamp(score, low, high) - low) / (high - low) * (Bottom - Top);

        int[] order = [.. Enumerable.Range(0, count).OrderByDescending(k => group.Scores[k])];
        HashSet<int> removed = [.. group.Removed];
        double step = (Right - Left) / count, bar = step > 2 ? step - 1 : step;
        var kept = new Markup();
        var gone = new Markup();
        for (int i = 0; i < count; i++)
        {
            double x = Left + i * step, y = Y(float.IsFinite(group.Scores[order[i]]) ? group.Scores[order[i]] : 0);
            (removed.Contains(order[i]) ? gone : kept).Add($"M{x} {Y(0)}V{y}h{bar}V{Y(0)}z");
        }
        page.Add($"<figure class=\"chart\"><figcaption class=\"name\">{group.Name}</figcaption>")
            .Add($"<p class=\"stat\"><b>{count - removed.Count}</b> of {count} kept</p>")
            .Add($"<svg class=\"plot\" viewBox=\"0 0 {Width} {Height}\" role=\"img\" ")
            .Add($"aria-label=\"{group.Name}: scores of the channels\">");
        Bars(page, "s0", "kept", kept, group, k => !removed.Contains(k));
        Bars(page, "s1 gone", "removed", gone, group, removed.Contains);
        page.Add($"<path class=\"axis\" d=\"M{Left} {Y(0)}H{Right}\"/></svg></figure>");
    }

    private static void Bars(Markup page, string series, string name, Markup bars, ScoredGroup group, Func<int, bool> these)
    {
        double[] scores = [.. group.Scores.Where((score, k) => float.IsFinite(score) && these(k)).Select(score => (double)score)];
        string tip = $"{Figures.Count(Enumerable.Range(0, group.Scores.Count).Count(these))} {name}";
        if (scores.Length > 0) tip += $"\nscores {Figures.Significant(scores.Min())} to {Figures.Significant(scores.Max())}";
        page.Add($"<path class=\"bar {series}\" d=\"{bars}\" data-tip=\"{tip}\"><title>{tip}</title></path>");
    }
}
