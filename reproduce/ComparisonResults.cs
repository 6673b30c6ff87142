using System.Text;
using Espalier.Compression;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Reproduce;

/// <summary>One line of the table: one way to the smaller network at one budget, over all seeds.</summary>
/// <param name="Budget">1 for the whole network.</param>
/// <param name="Method">Null for the whole network.</param>
/// <param name="Scratch">Accuracies of the same shapes trained from scratch; null where there are none.</param>
/// <param name="One">Images a second one at a time.</param>
/// <param name="Sixteen">Sixteen at a time.</param>
internal sealed record ComparedResult(ComparedMethod? Method, double Budget, IReadOnlyList<RunRecord> BySeed,
    IReadOnlyList<RunRecord>? Scratch, double One, double Sixteen)
{
    public string Name => Method?.Name ?? "whole network, trained on";

    public double Accuracy => BySeed.Average(r => r.Accuracy);
}

/// <summary>Times the finished runs of a <see cref="ComparisonRuns"/> and writes them as Markdown.</summary>
internal sealed class ComparisonResults(ComparisonRuns runs, IReadOnlyList<ulong> seeds)
{
    private const int Repeats = 9;

    /// <summary>The whole network, then every method at every budget.</summary>
    public IReadOnlyList<ComparedResult> Measure()
    {
        var lines = new List<(ComparedMethod? Method, string Id, double Budget)> { (null, ComparisonRuns.Whole, 1) };
        foreach (double budget in runs.Budgets)
            foreach (ComparedMethod method in runs.Methods)
                if (seeds.All(s => runs.Runs.Record(ComparisonRuns.Name(method.Id, budget, s)) is not null))
                    lines.Add((method, method.Id, budget));
        string[][] names = [.. lines.Select(l => seeds.Select(s => ComparisonRuns.Name(l.Id, l.Budget, s)).ToArray())];
        double[] one = Speeds(names, 1), sixteen = Speeds(names, 16);
        return [.. lines.Select((l, i) =>
        {
            RunRecord[] records = [.. names[i].Select(n => runs.Runs.Record(n)!)];
            RunRecord?[] scratch = l.Method is not { HasScratch: true } method ? []
                : [.. records.Select((r, s) => runs.Runs.Record(ComparisonRuns.Scratch(method, r, l.Budget, seeds[s])))];
            bool all = scratch.Length > 0 && !scratch.Contains(null);
            return new ComparedResult(l.Method, l.Budget, records, all ? [.. scratch.Select(r => r!)] : null, one[i], sixteen[i]);
        })];
    }

    private double[] Speeds(string[][] names, int batch)
    {
        Session[][] models = [.. names.Select(line => line.Select(n => Session.Open(runs.Runs.File(n))).ToArray())];
        try
        {
            using var scope = new Scope();
            IReadOnlyList<Tensor> batches = ModelSpeed.Batches(runs.Runs.Test, models[0][0], batch, 32 / batch);
            return [.. ModelSpeed.ImagesPerSecond([.. models.Select(line => new ModelSpeed.Timed(images =>
            {
                foreach (Session m in line) ModelSpeed.Pass(m, m.Pruning)(images);
            }, batches))], Repeats).Select(speed => speed * seeds.Count)];
        }
        finally
        {
            foreach (Session m in models.SelectMany(m => m)) m.Dispose();
        }
    }

    /// <summary>The part of the page that is of this network: what beats what, how it was made, and the tables.</summary>
    /// <param name="heading">What stands before the headings of the budgets.</param>
    public string Part(IReadOnlyList<ComparedResult> rows, string heading, string picture)
    {
        var text = new StringBuilder(Verdict(rows)).Append(FormattableString.Invariant($"""
            Every method had {runs.Steps} steps, its own training included.
            {Sentences.Length(runs.Steps, ComparisonRuns.BatchSize, runs.Runs.Train.Count)}

            The start is `{Path.GetFileName(runs.Start.File)}`; {Sentences.Of(runs.Tuned(new()).Training)}, no augmentation, no teacher, all
            {runs.Runs.Images}, seeds {string.Join(',', seeds)}, the last weights count. {Notes(rows, runs.ScratchSteps)} {Masked(rows)} {runs.Runs.Made} {runs.Runs.Hours.Measuring()}

            """));
        foreach (double budget in runs.Budgets)
            text.Append(FormattableString.Invariant($"\n{heading} {budget:0.##} of the multiply-adds\n\n"))
                .Append(Table([.. rows.Where(r => r.Method is null || r.Budget == budget)]));
        if (runs.Refused.Count > 0)
            text.Append("\nLeft out: ").AppendJoin("; ", runs.Refused.Select(r => $"{r.Key} ({r.Value})")).Append(".\n");
        return text.Append($"\n![Accuracy and images a second](images/{picture})\n").ToString();
    }

    /// <summary>How the times were taken, and what writes the section.</summary>
    public static string Ending(string command, string verb) => FormattableString.Invariant($"""

        Images a second: {Workers.Threads} threads ({KernelInfo.Name} kernels), all networks in turn, the median of {Repeats}
        rounds, the mean over the seeds. Compare the ratios, and those only where nothing else ran beside. The first line
        writes this section, the second says how long the whole table takes:

        ```sh
        {command}
        {Commands.Start} {verb} --plan
        ```

        """);

    /// <summary>What the lines that there are want said.</summary>
    /// <param name="scratchSteps">Of a shape from scratch.</param>
    internal static string Notes(IReadOnlyList<ComparedResult> rows, long scratchSteps)
    {
        bool Has(string id) => rows.Any(r => r.Method?.Id == id);
        bool ats = Has("ats"), patches = Has("patch-slimming");
        string? rough = (ats, patches) switch
        {
            (true, true) => "ATS and Patch Slimming know",
            (true, false) => "ATS knows",
            (false, true) => "Patch Slimming knows",
            _ => null,
        };
        return Sentences.Join(
            "Methods are told which share of the multiply-adds may stay.",
            Has("apt") ? "Where agents decide image by image, multiply-adds are means over the test images." : null,
            Has("l1-distilled") ? "Where a line is taught, by the whole network trained on." : null,
            ats ? "ATS is counted as if no image needed less than its most." : null,
            Has("spvit") ? "Where SPViT leaves attention in the first blocks only, nobody reads what patches become behind "
                + "them: sessions leave it out, and its multiply-adds still count it." : null,
            rough is null ? null : $"{rough} no such share: what is told instead is rough, and the table has what was left.",
            rows.All(r => r.Scratch is null) ? "No row has its shape from scratch beside it." : FormattableString.Invariant($"""
                "From scratch" is the shape that came out with new weights, trained as the whole network was, for {scratchSteps}
                steps: as many as it and its fine-tuning had together.
                """));
    }

    /// <summary>How far smaller networks were from masked ones, where it is kept.</summary>
    internal static string Masked(IReadOnlyList<ComparedResult> rows)
    {
        (string Name, double Value)[] all = [.. from row in rows from r in row.BySeed
            where r.Findings?.ContainsKey(CompressionJob.MaskedDifference) == true
            select (row.Name, r.Findings![CompressionJob.MaskedDifference])];
        if (all.Length == 0) return "";
        var (name, value) = all.MaxBy(x => x.Value);
        return FormattableString.Invariant($"When what is removed went, outputs of {all.Select(x => x.Name).Distinct().Count()} methods differed from ")
            + FormattableString.Invariant($"those of the network that only masks it by {value:0.0e0} at most ({name}).");
    }

    /// <summary>What beats what, in words.</summary>
    internal static string Verdict(IReadOnlyList<ComparedResult> rows)
    {
        var text = new StringBuilder();
        foreach (double budget in rows.Where(r => r.Method is not null).Select(r => r.Budget).Distinct())
        {
            ComparedResult[] at = [.. rows.Where(r => r.Method is not null && r.Budget == budget)];
            text.Append(FormattableString.Invariant($"**{budget:0.##} of the multiply-adds.** "));
            foreach (var (tokens, id) in new[] { (false, ComparedMethod.RandomChannels), (true, ComparedMethod.RandomlyKept) })
            {
                if (at.FirstOrDefault(r => r.Method!.Id == id) is not { } random) continue;
                ComparedResult[] others = [.. at.Where(r => r.Method!.Tokens == tokens && r != random)];
                text.Append(FormattableString.Invariant($"Better than {random.Name} ({100 * random.Accuracy:0.00} %) are "))
                    .Append(Names(others.Where(r => r.Accuracy > random.Accuracy))).Append("; not better: ")
                    .Append(Names(others.Where(r => r.Accuracy <= random.Accuracy))).Append(". ");
            }
            ComparedResult[] held = [.. at.Where(r => r.Scratch is not null)];
            if (held.Length == 0) continue;
            bool Beats(ComparedResult r) => r.Accuracy > r.Scratch!.Average(s => s.Accuracy);
            text.Append("Better than their shape trained from scratch: ").Append(Names(held.Where(Beats)))
                .Append("; not better: ").Append(Names(held.Where(r => !Beats(r)))).Append(". ");
        }
        return text.ToString();

        static string Names(IEnumerable<ComparedResult> some) =>
            some.OrderByDescending(r => r.Accuracy)
                .Select(r => FormattableString.Invariant($"{r.Name} ({100 * r.Accuracy:0.00})"))
                .DefaultIfEmpty("none").Aggregate((a, b) => $"{a}, {b}");
    }

    /// <summary>One budget's lines as Markdown.</summary>
    public static string Table(IReadOnlyList<ComparedResult> rows)
    {
        ComparedResult first = rows[0];
        RunRecord whole = first.BySeed[0];
        var text = new StringBuilder("""
            | method | accuracy, % | by seed | from scratch, % | parameters | MACs | images/s, 1 | images/s, 16 |
            | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |

            """);
        foreach (ComparedResult r in rows)
        {
            text.AppendLine(RunRecord.Columns(r.Name, r.BySeed, r.Scratch, whole)
                + FormattableString.Invariant($"| {r.One:0} ({r.One / first.One:0.00} x) ")
                + FormattableString.Invariant($"| {r.Sixteen:0} ({r.Sixteen / first.Sixteen:0.00} x) |"));
        }
        return text.ToString();
    }

    /// <summary>Accuracy over images a second, sixteen at a time.</summary>
    public static Plot Picture(IReadOnlyList<ComparedResult> rows)
    {
        double most = Math.Ceiling(rows.Max(r => r.Sixteen) / 1000) * 1000;
        double low = Math.Max(0, Math.Floor(100 * rows.Min(r => r.Accuracy)) - 1);
        double high = Math.Ceiling(100 * rows.Max(r => r.Accuracy)) + 1;
        var plot = new Plot("images a second, 16 at a time", 0, most, "accuracy, %", low, high);
        double[] budgets = [.. rows.Select(r => r.Budget).Distinct()];
        foreach (ComparedResult r in rows) plot.Point(r.Sixteen, 100 * r.Accuracy, ColorOf(r.Budget), r.Method?.Id ?? "whole");
        foreach (double b in budgets) plot.Legend(ColorOf(b), b == 1 ? "whole" : FormattableString.Invariant($"{b:0.##} of MACs"));
        return plot;

        string ColorOf(double budget) => Plot.Color(Array.IndexOf(budgets, budget), budgets.Length);
    }
}
