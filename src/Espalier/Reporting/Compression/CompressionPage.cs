using Espalier.Compression;

namespace Espalier.Reporting;

/// <summary>A <see cref="CompressionReport"/> as a page.</summary>
internal static class CompressionPage
{
    // With more trainings than a legend can name, they are one curve.
    private const int MostStages = 6;

    public static string Render(CompressionReport report) => HtmlPage.Render($"{report.Network}, made smaller by {report.Method}",
        string.Join(" · ", new[] { report.Dataset, report.Purpose, report.Machine, $"seed {report.Seed}" }
            .Where(s => s.Length > 0)),
        report.CommandLine, report.Version, page => Draw(page, report));

    private static void Draw(Markup page, CompressionReport report)
    {
        (ModelNumbers before, ModelNumbers after) = (report.Before, report.After);
        page.Add($"<dl class=\"headline\">");
        Headline.Figure(page, Figures.Percent(after.Accuracy), "accuracy",
            Figures.Points(after.Accuracy - before.Accuracy) + " points against before");
        Headline.Figure(page, Figures.Percent(after.MultiplyAdds / before.MultiplyAdds, 0), "of the multiply-adds",
            $"{Figures.Si(after.MultiplyAdds)} an image instead of {Figures.Si(before.MultiplyAdds)}");
        Headline.Figure(page, Figures.Percent((double)after.Parameters / before.Parameters, 0), "of the parameters",
            $"{Figures.Si(after.Parameters)} instead of {Figures.Si(before.Parameters)}");
        Headline.Figure(page, Figures.Ratio(before.Milliseconds / after.Milliseconds), "the speed",
            $"{Figures.Significant(after.Milliseconds)} ms an image instead of {Figures.Significant(before.Milliseconds)}");
        page.Add($"</dl>");
        HtmlPage.Section(page, "Before and after", "Ratios are of after to before. Times are of an image, both "
            + "networks measured in turn on one machine.", content => Numbers(content, before, after));
        if (report.Groups.Count > 0)
            HtmlPage.Section(page, "Channels kept", "Layers that could lose channels, in the order of the forward pass. Layers "
                + "that share their channels with others are named by the first that makes them.",
                content => Kept(content, report.Groups));
        if (report.Selections.Count > 0)
            HtmlPage.Section(page, "Importance", "Every channel's score, the most important first; those in the second colour "
                + $"were chosen to go. Each layer has its own scale.{Round(report.Selections)}",
                content => ScoreChart.Draw(content, report.Selections[^1].Groups));
        LineChart.Section(page, [.. Losses(report.Stages), .. Accuracies(report.Stages)]);
        if (report.Options.Count > 0)
            HtmlPage.Section(page, "Options", "Those left at their usual values too.", content => Options(content, report));
    }

    private static string Round(IReadOnlyList<SelectionRecord> selections) =>
        selections.Count == 1 ? "" : $" Shown is the last of {Figures.Count(selections.Count)} rounds.";

    private static void Numbers(Markup page, ModelNumbers before, ModelNumbers after)
    {
        page.Add($"<table class=\"small layers\"><thead><tr><th scope=\"col\"> </th><th scope=\"col\">Before</th>")
            .Add($"<th scope=\"col\">After</th><th scope=\"col\">Ratio</th></tr></thead><tbody>");
        Row("Parameters", Figures.Si(before.Parameters), Figures.Si(after.Parameters),
            (double)after.Parameters / before.Parameters);
        Row("Multiply-adds an image", Figures.Si(before.MultiplyAdds), Figures.Si(after.MultiplyAdds),
            after.MultiplyAdds / before.MultiplyAdds);
        Row("Accuracy", Figures.Percent(before.Accuracy, 2), Figures.Percent(after.Accuracy, 2), null);
        Row("File, bytes", Figures.Count(before.Bytes), Figures.Count(after.Bytes), (double)after.Bytes / before.Bytes);
        Row("Milliseconds an image", Figures.Significant(before.Milliseconds), Figures.Significant(after.Milliseconds),
            after.Milliseconds / before.Milliseconds);
        // Reports of before this was measured have none.
        if (before.MillisecondsOfBatch > 0)
            Row($"The same, {BeforeAfter.TimedBatch} at a time", Figures.Significant(before.MillisecondsOfBatch),
                Figures.Significant(after.MillisecondsOfBatch), after.MillisecondsOfBatch / before.MillisecondsOfBatch);
        page.Add($"</tbody></table>");

        void Row(string name, string x, string y, double? ratio)
        {
            string last = ratio is { } r ? Figures.Fixed(r, 3) : Figures.Points(after.Accuracy - before.Accuracy, 2) + " points";
            page.Add($"<tr><th scope=\"row\">{name}</th><td>{x}</td><td>{y}</td><td>{last}</td></tr>");
        }
    }

    private static void Kept(Markup page, IReadOnlyList<CompressedGroup> groups)
    {
        page.Add($"<table class=\"small layers\"><thead><tr><th scope=\"col\">Layer</th><th scope=\"col\">Channels</th>")
            .Add($"<th scope=\"col\">Kept</th><th scope=\"col\">Share</th></tr></thead><tbody>");
        foreach (CompressedGroup g in groups)
        {
            double share = (double)g.Kept / g.Channels;
            page.Add($"<tr><th scope=\"row\" class=\"name\">{g.Name}</th><td>{g.Channels}</td><td>{g.Kept}</td><td>")
                .Add($"<svg class=\"share\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">")
                .Add($"<rect class=\"all\" width=\"100\" height=\"4\"/>")
                .Add($"<rect class=\"part\" width=\"{100 * share}\" height=\"4\"/></svg> ")
                .Add($"<i>{Figures.Percent(share, 0)}</i></td></tr>");
        }
        page.Add($"</tbody></table>");
    }

    private static void Options(Markup page, CompressionReport report)
    {
        page.Add($"<table class=\"small layers\"><tbody>");
        foreach (var (name, value) in report.Options)
            page.Add($"<tr><th scope=\"row\" class=\"name\">{name}</th><td class=\"name tokens\">{value}</td></tr>");
        page.Add($"</tbody></table>");
    }

    /// <summary>One curve a training, each where the one before ends.</summary>
    private static IEnumerable<Curve> Losses(IReadOnlyList<StageRecord> stages)
    {
        var all = stages.Zip(Starts(stages)).Select(s => (s.First.Name,
            Points: s.First.Losses.Select(l => new CurvePoint(s.Second + l.Step, l.Loss)).ToList())).ToList();
        return all.Count <= MostStages ? all.Select(s => new Curve(s.Name, "Loss", s.Points))
            : [new Curve($"{Figures.Count(all.Count)} trainings", "Loss", [.. all.SelectMany(s => s.Points)])];
    }

    private static IEnumerable<Curve> Accuracies(IReadOnlyList<StageRecord> stages)
    {
        CurvePoint[] points = [.. stages.Zip(Starts(stages)).Where(s => s.First.Accuracy is not null)
            .Select(s => new CurvePoint(s.Second + s.First.Steps, s.First.Accuracy!.Value))];
        return points.Length < 2 ? [] : [new Curve("at the end of each training", "Accuracy", points, ValueFormat.Percent)];
    }

    /// <summary>Steps before each training.</summary>
    private static IEnumerable<long> Starts(IReadOnlyList<StageRecord> stages)
    {
        long start = 0;
        foreach (StageRecord stage in stages)
        {
            yield return start;
            start += stage.Steps;
        }
    }
}
