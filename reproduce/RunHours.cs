using System.Diagnostics;
using System.Globalization;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>How long a section took, in words: its runs by what is kept of each, and what this process measured besides.</summary>
internal sealed class RunHours
{
    private const string Ending = ".seconds.csv";

    private long since = Stopwatch.GetTimestamp();
    private TimeSpan working;

    /// <summary>Works on runs, which is no measuring.</summary>
    public T Work<T>(Func<T> work)
    {
        long began = Stopwatch.GetTimestamp();
        try
        {
            return work();
        }
        finally
        {
            working += Stopwatch.GetElapsedTime(began);
        }
    }

    /// <summary>What the process did besides <see cref="Work"/> since it began, or since this was asked last.</summary>
    public string Measuring()
    {
        TimeSpan rest = Stopwatch.GetElapsedTime(since) - working;
        (since, working) = (Stopwatch.GetTimestamp(), TimeSpan.Zero);
        return $"Measuring for this page took {Text(rest)}.";
    }

    /// <param name="seconds">Of the processor, of each run; null where it is not kept.</param>
    public static string Sentence(IReadOnlyCollection<double?> seconds)
    {
        double[] known = [.. seconds.OfType<double>()];
        int others = seconds.Count - known.Length;
        if (known.Length == 0) return others == 0 ? "" : "How long the runs took is not kept.";
        string rest = others == 0 ? "" : $"; of {others} of them it is not kept";
        return $"Processor time of the runs: {Text(TimeSpan.FromSeconds(known.Sum()))}{rest}.";
    }

    /// <summary>Does what is left of a run of `train`, on which several processes may work one after another; by which and how long is
    /// kept beside it, the latter where it is so of the whole run.</summary>
    /// <param name="steps">Of the whole run.</param>
    /// <param name="run">Goes on from where it stands; false where it was interrupted.</param>
    public bool Train(RunFolder files, long steps, Func<bool> run)
    {
        if (RunOrigin.IsDone(files, steps)) return run();
        RunOrigin.Note(files.Directory, files.Name);
        bool known = !File.Exists(files.State) || Of(files.Directory, files.Name) is not null;
        return Work(() => known ? Noted(files.Directory, files.Name, run) : run());
    }

    /// <summary>What <see cref="Train"/> kept; null for nothing.</summary>
    public static double? Of(string folder, string name) =>
        RecordFile.Rows(PathOf(folder, name), 1) is { Count: > 0 } rows ? rows.Sum(r => r[0]) : null;

    private static bool Noted(string folder, string name, Func<bool> work)
    {
        TimeSpan before = Environment.CpuUsage.TotalTime;
        try
        {
            return work();
        }
        finally
        {
            double seconds = (Environment.CpuUsage.TotalTime - before).TotalSeconds;
            File.AppendAllText(PathOf(folder, name), string.Create(CultureInfo.InvariantCulture, $"{seconds:0.0}\n"));
        }
    }

    /// <summary>"3.2 hours", "12 minutes" or "40 seconds".</summary>
    internal static string Text(TimeSpan time) => time switch
    {
        { TotalMinutes: < 1.5 } => FormattableString.Invariant($"{time.TotalSeconds:0} seconds"),
        { TotalHours: < 1.5 } => FormattableString.Invariant($"{time.TotalMinutes:0} minutes"),
        _ => FormattableString.Invariant($"{time.TotalHours:0.0} hours"),
    };

    private static string PathOf(string folder, string name) => Path.Combine(folder, name + Ending);
}
