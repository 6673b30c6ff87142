using System.Globalization;
using System.Text;
using Espalier.Benchmarking;

namespace Espalier.Peers;

/// <summary>Times an older build and this one in turn, row by row, and says which rows became slower.</summary>
internal static class BuildComparison
{
    // Where others compute too, two equal builds differ by tenths.
    private const double QuietBar = 0.05;

    /// <param name="otherBuild">Folder with the older build.</param>
    /// <param name="runs">How often all rows are measured, each time by new processes.</param>
    /// <param name="filter">Only the trials whose section or name contains it; null for all.</param>
    /// <returns>0 where every row was measured and none became slower, else 1.</returns>
    public static int Run(BenchSettings settings, string otherBuild, int runs, string? filter)
    {
        Build old = Build.Old(otherBuild), current = Build.New();
        BuildTrial[] trials = [.. BuildTrial.All().Where(t =>
            filter is null || $"{t.Section}: {t.Name}".Contains(filter, StringComparison.OrdinalIgnoreCase))];
        var models = new ModelFolder(Path.Combine(settings.Work, "models"));
        var rows = new List<BuildRow>();
        for (int run = 0; run < runs; run++)
        {
            using var pair = new BuildPair(old, current, settings, models);
            foreach (BuildTrial trial in trials)
                foreach (BuildRow row in RunOne(trial, pair))
                    Console.WriteLine($"run {run + 1} of {runs}  {row.Section}  {Add(rows, row).Line}");
        }
        Console.WriteLine();
        Console.WriteLine(Report(rows, old, current, settings, runs, CpuClock.OthersShare));
        return rows.Count > 0 && !rows.Any(r => r.IsSlower || r.Problem is not null) ? 0 : 1;
    }

    /// <summary>The tables, and how many rows are slower as the last line.</summary>
    /// <param name="others">The share of the processors that other programs had.</param>
    internal static string Report(IReadOnlyList<BuildRow> rows, Build old, Build current, BenchSettings settings, int runs,
        double others)
    {
        var text = new StringBuilder();
        MachineInfo machine = MachineInfo.Collect();
        string date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
        text.Append($"- {date}, {machine.Cpu}, {settings.Threads} threads of {machine.Cores} processors\n");
        text.Append($"- old: {old.Commit}, new: {current.Commit}; {runs} runs of {settings.Rounds} rounds, windows of "
            + $"{settings.WindowSeconds.ToString(CultureInfo.InvariantCulture)} s\n");
        text.Append($"- other programs had {Units.Percent(others)} of the processors"
            + (others > QuietBar ? ": too much for these figures to decide anything\n" : "\n"));
        foreach (var section in rows.GroupBy(r => r.Section))
        {
            text.Append($"\n### {section.Key}\n\n{BuildRow.Header}");
            foreach (BuildRow row in section) text.Append(row.Line).Append('\n');
        }
        int missing = rows.Count(r => r.Problem is not null);
        text.Append($"\n{rows.Count(r => r.IsSlower)} of {rows.Count - missing} rows are more than "
            + $"{Percent(BuildTrial.SpeedBar)} slower "
            + $"(memory and start-up: {Percent(BuildTrial.ResourceBar)} more) in both median and best windows");
        return text.Append(missing > 0 ? $"; {missing} could not be measured." : ".").ToString();
    }

    /// <summary>A trial that cannot run gives a row that says why, and the others go on.</summary>
    private static IEnumerable<BuildRow> RunOne(BuildTrial trial, BuildPair pair)
    {
        try
        {
            return [.. trial.Run(pair).Select(f => new BuildRow(trial.Section, f.Name, f.Format, f.Bar, [f.Rounds], null))];
        }
        catch (EspalierException e)
        {
            return [new BuildRow(trial.Section, trial.Name, Units.Milliseconds, 0, [], e.Message)];
        }
    }

    /// <summary>Puts a run's figures to those of the runs before.</summary>
    /// <returns>All of the row so far.</returns>
    private static BuildRow Add(List<BuildRow> rows, BuildRow row)
    {
        int at = rows.FindIndex(r => (r.Section, r.Name) == (row.Section, row.Name));
        if (at < 0) rows.Add(row);
        else rows[at] = rows[at] with { Runs = [.. rows[at].Runs, .. row.Runs], Problem = rows[at].Problem ?? row.Problem };
        return rows[at < 0 ? ^1 : at];
    }

    private static string Percent(double bar) => $"{Math.Round(100 * (bar - 1))} %";
}
