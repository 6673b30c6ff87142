using System.Text;
using Espalier.Cli;
using Espalier.Compression;
using Espalier.Data;

namespace Espalier.Reproduce;

/// <summary>
/// The classic curve of pruning: accuracy over the removed share of the multiply-adds. A trained network loses some of its channels,
/// is trained on for a while, loses some more of what is left, and so on, by several ways to choose the channels.
/// </summary>
internal sealed class CurveReproduction(CommandContext context, string folder, string? dataDir, long steps, IReadOnlyList<string> networks)
{
    /// <summary>Of the whole network's multiply-adds, what each round leaves.</summary>
    private static readonly double[] Shares = [0.85, 0.7, 0.55, 0.4, 0.3, 0.2];

    private const ulong Seed = 1;
    private const double Tick = 5;

    /// <summary>Of the network that is worked on: each has a part of the section, which says how its runs were made.</summary>
    private NetworkRuns runs = NewRuns(context, folder, dataDir, steps);

    /// <summary>The ways to choose.</summary>
    public static IReadOnlyList<ComparedMethod> Lines { get; } =
    [
        new("random", "random channels", "random"),
        new("l1", "L1 norm", "l1"),
        new("l1-global", "L1 norm, all layers compete", "l1") { Global = true },
        new("taylor", "Taylor, all layers compete", "taylor") { Global = true },
        new("output-error", "output error, recovered", "output-error") { Recovered = true },
    ];

    /// <summary>Does what is not done yet, writes a picture a network beside the page, and gives its section.</summary>
    public string Section(string page)
    {
        var text = new StringBuilder("## Accuracy over the removed share\n\n");
        foreach (string network in networks)
        {
            runs = NewRuns(context, folder, dataDir, steps);
            RunRecord whole = Whole(network);
            (ComparedMethod Line, RunRecord[] Rounds)[] curves = [.. Lines.Select(l => (l, Run(network, l, whole).ToArray()))];
            string picture = $"curve-{network}.svg";
            Picture(whole, curves).Save(page, picture);
            string table = Table(whole, curves);
            context.Terminal.Line($"{network}\n{table}");
            // A part stands for itself: others may be written by another command.
            text.Append($"""
                ### {network}

                {Verdict(curves)}

                {table}
                ![Accuracy over the removed share of the multiply-adds](images/{picture})

                From `{SizeReproduction.Start(network)}` on, round by round: channels go until a share of its multiply-adds is left, {steps} steps of
                64 images follow ({Sentences.Of(Options(network, Lines[0], 0.5).Training)}, no augmentation), and the next round takes what came
                out. Accuracy in % of {runs.Test.Count:#,0} test images. One seed. {runs.Made} {runs.Hours.Measuring()}

                ```sh
                {GivenCommand.Of(context, "curve")}
                ```


                """);
        }
        return text.ToString();
    }

    /// <summary>How long every line will take on this machine, by a few steps, as if nothing got faster.</summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates() =>
        from network in networks
        from line in Lines
        select ($"{network}, {line.Name}", Shares.Length * runs.Estimate(() => Model.Open(SizeReproduction.Start(network)),
            few => Options(network, line, Shares[0]) with { FineTuneSteps = few }, job => job.Run(), steps));

    private static NetworkRuns NewRuns(CommandContext context, string folder, string? dataDir, long steps) =>
        new(context, folder, Datasets.Open("fashion-mnist", dataDir), 28, steps);

    private RunRecord Whole(string network) =>
        runs.Do($"{network}-whole", () => Model.Open(SizeReproduction.Start(network)), new CompressionOptions(), _ => { });

    /// <summary>The rounds of a line; fewer where it can lose no more.</summary>
    private IEnumerable<RunRecord> Run(string network, ComparedMethod line, RunRecord whole)
    {
        string from = SizeReproduction.Start(network);
        double left = whole.MultiplyAdds;
        foreach (double share in Shares)
        {
            string name = FormattableString.Invariant($"{network}-{line.Id}-{share:0.##}"), before = from;
            double target = share * whole.MultiplyAdds / left;
            // What rounding took beyond the last target may be enough for this one.
            if (target >= 1) target = 0.999;
            RunRecord record;
            try
            {
                record = runs.Do(name, () => Model.Open(before), Options(network, line, target), job => job.Run());
            }
            catch (OutOfReachException e)
            {
                context.Terminal.Line($"{name}: {e.Message}");
                yield break;
            }
            (from, left) = (runs.File(name), record.MultiplyAdds);
            yield return record;
        }
    }

    private CompressionOptions Options(string network, ComparedMethod line, double share) =>
        BaselineReproduction.Tuned(BaselineReproduction.Plan(network, null, dataDir), line.Options(steps, share, Seed));

    /// <summary>What is best at the least that all lines leave.</summary>
    internal static string Verdict(IReadOnlyList<(ComparedMethod Line, RunRecord[] Rounds)> curves)
    {
        int last = curves.Min(c => c.Rounds.Length) - 1;
        if (last < 0) return "At least one way to choose can remove nothing.";
        var order = curves.OrderByDescending(c => c.Rounds[last].Accuracy)
            .Select(c => FormattableString.Invariant($"{c.Line.Name} ({100 * c.Rounds[last].Accuracy:0.00} %)"));
        return FormattableString.Invariant($"With {Shares[last]} of the multiply-adds left, from best to worst: {string.Join(", ", order)}.");
    }

    internal static string Table(RunRecord whole, IReadOnlyList<(ComparedMethod Line, RunRecord[] Rounds)> curves)
    {
        var text = new StringBuilder("| channels chosen by | whole |");
        foreach (double share in Shares) text.Append(FormattableString.Invariant($" {share} left |"));
        text.AppendLine().Append("| --- | ---: |").Insert(text.Length, " ---: |", Shares.Length).AppendLine();
        foreach (var (line, rounds) in curves)
        {
            text.Append(FormattableString.Invariant($"| {line.Name} | {100 * whole.Accuracy:0.00} |"));
            for (int i = 0; i < Shares.Length; i++)
                text.Append(i < rounds.Length ? FormattableString.Invariant($" {100 * rounds[i].Accuracy:0.00} |") : " out of reach |");
            text.AppendLine();
        }
        return text.ToString();
    }

    private static Plot Picture(RunRecord whole, IReadOnlyList<(ComparedMethod Line, RunRecord[] Rounds)> curves)
    {
        double least = curves.SelectMany(c => c.Rounds).Min(r => 100 * r.Accuracy);
        var plot = new Plot("removed share of the multiply-adds, %", 0, 100, "accuracy, %",
            Tick * Math.Floor(least / Tick), 100);
        for (int i = 0; i < curves.Count; i++)
        {
            (double, double)[] points = [(0, 100 * whole.Accuracy),
                .. curves[i].Rounds.Select(r => (100 * (1 - r.MultiplyAdds / whole.MultiplyAdds), 100 * r.Accuracy))];
            plot.Line(points, Plot.Color(i, curves.Count), curves[i].Line.Name);
        }
        return plot;
    }
}
