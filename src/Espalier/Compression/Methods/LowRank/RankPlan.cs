using System.Diagnostics;
using System.Globalization;
using Espalier.Formats;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.LowRank;

/// <summary>
/// The ranks of a network's layers for a target: what searches choose, less the layers that are no faster as two, as often as
/// that changes anything.
/// </summary>
/// <param name="layers">Those that may be split.</param>
/// <param name="timed">Whether layers stay whole that are not faster as two.</param>
internal sealed class RankPlan(CompressionJob job, CompressionMethod method, IReadOnlyList<SplitLayer> layers, bool timed)
{
    private readonly Dictionary<(SplitLayer, int), double> times = [];

    /// <summary>How long searches have taken together, without measuring times.</summary>
    public TimeSpan Searched { get; private set; }

    /// <summary>Refuses what no search could do, before anything is computed.</summary>
    /// <exception cref="EspalierException">A target of another kind, or one that cannot be reached.</exception>
    public static void Check(CompressionMethod method, CompressionJob job, IReadOnlyList<SplitLayer> layers)
    {
        method.Selection.Checked();
        if (method.Rounds != 1) throw new EspalierException($"{method.Name} splits layers once; Rounds is 1");
        if (method.Selection.Ratio?.OfAll is null && method.Selection.TargetFlops is null)
            throw new EspalierException($"{method.Name} takes a target of multiply-adds or one ratio for all layers");
        if (layers.Count == 0)
            throw new EspalierException($"{method.Name}: the network has no convolutions or linear layers that two thinner ones "
                + "could replace");
        double whole = job.Model.Graph.CostPerImage.MultiplyAdds, most = layers.Sum(l => l.Cost),
            least = layers.Sum(l => l.Ranks.Least);
        if (least > Budget(method, job, layers))
            throw new EspalierException(string.Create(CultureInfo.InvariantCulture,
                $"{method.Name} cannot reach the target: with the fewest ranks {(whole - most + least) / whole:0.0%} of the ")
                + "multiply-adds are left");
    }

    /// <summary>One rank for each layer, its <see cref="LayerRanks.Most"/> where it stays as it is.</summary>
    /// <param name="search">Gives the ranks of some of the layers within a budget of multiply-adds.</param>
    public int[] Choose(Func<IReadOnlyList<SplitLayer>, double, int[]> search)
    {
        if (Kept() is { } kept) return kept;
        List<SplitLayer> left = [.. layers];
        double budget = Budget(method, job, layers);
        while (true)
        {
            long started = Stopwatch.GetTimestamp();
            int[] ranks = search(left, budget);
            Searched += Stopwatch.GetElapsedTime(started);
            SplitLayer[] slow = timed ? [.. left.Where((l, i) => ranks[i] < l.Ranks.Most && !IsFaster(l, ranks[i]))] : [];
            double without = budget - slow.Sum(l => l.Cost);
            bool more = slow.Length > 0 && left.Count > slow.Length && left.Except(slow).Sum(l => l.Ranks.Least) <= without;
            if (more)
            {
                left.RemoveAll(slow.Contains);
                budget = without;
                continue;
            }
            return Keep([.. layers.Select(l => left.Contains(l) && !slow.Contains(l) ? ranks[left.IndexOf(l)] : l.Ranks.Most)]);
        }
    }

    /// <summary>Splits the layers for good and says so.</summary>
    /// <param name="split">A layer at its rank.</param>
    /// <exception cref="EspalierException">No layer is faster as two.</exception>
    public void Apply(int[] ranks, Func<SplitLayer, int, LayerSplit> split)
    {
        LayerSplit[] all = [.. layers.Zip(ranks)
            .Where(p => p.Second < p.First.Ranks.Most && p.First.Ranks.CostAt(p.Second) < p.First.Cost)
            .Select(p => split(p.First, p.Second))];
        if (all.Length == 0)
            throw new EspalierException(timed
                ? $"{method.Name}: no layer is faster as two on this machine; ask for less to be left, or for Timed = false"
                : $"{method.Name}: no layer would be split; ask for less to be left");
        job.Log($"{method.Name}: ranks {string.Join(", ", all.Select(s => $"{s.Layer.Name} {s.Rank}/{s.Layer.Ranks.Most}"))}");
        using var scope = new Scope();
        RemovalReport report = LayerSplit.Apply(job.Model, all, job.Example(4));
        job.Removed($"ranks of {all.Length} layers, {layers.Count - all.Length} stay whole", report);
        if (method.Selection.TargetFlops is { } target
            && report.Summary.MultiplyAddsAfter > (long)Math.Ceiling(target * report.Summary.MultiplyAddsBefore))
            job.Log(FormattableString.Invariant($"{method.Name}: more multiply-adds are left than the {target:0.0%} asked for: ")
                + "the other layers are no faster as two");
    }

    /// <summary>Multiply-adds that the layers may have together.</summary>
    private static double Budget(CompressionMethod method, CompressionJob job, IReadOnlyList<SplitLayer> layers)
    {
        double all = layers.Sum(l => l.Cost);
        if (method.Selection.Ratio?.OfAll is { } ratio) return (1 - ratio) * all;
        double whole = job.Model.Graph.CostPerImage.MultiplyAdds;
        return method.Selection.TargetFlops!.Value * whole - (whole - all);
    }

    private bool IsFaster(SplitLayer layer, int rank)
    {
        if (!times.TryGetValue((layer, rank), out double ratio))
            times[(layer, rank)] = ratio = PairTimes.Ratio(layer, rank, method.Selection.TimeBatch);
        if (ratio < PairTimes.Worth) return true;
        job.Log(FormattableString.Invariant($"{layer.Name} stays whole: two of {rank} ranks take {ratio:0.00} of its time"));
        return false;
    }

    private string? StatePath => timed && method.Training.OutputDir is { } folder
        ? Path.Combine(folder, $"{method.Name}-ranks-{CompressionJob.Asked(method.Selection, Settings)}.txt") : null;

    private string Settings => string.Concat(method.Settings.Select(s => $" {s.Of(method)}"));

    /// <summary>Times differ from run to run: what was chosen by them before an interruption stays chosen.</summary>
    private int[] Keep(int[] ranks)
    {
        if (StatePath is not { } path) return ranks;
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        AtomicFile.WriteText(path, string.Concat(layers.Zip(ranks, (l, r) => FormattableString.Invariant($"{r} {l.Name}\n"))));
        return ranks;
    }

    private int[]? Kept()
    {
        if (StatePath is not { } path || !method.Training.Resume || !File.Exists(path)) return null;
        string[] lines = File.ReadAllLines(path);
        var ranks = new int[layers.Count];
        for (int i = 0; i < ranks.Length; i++)
        {
            string[] parts = (lines.ElementAtOrDefault(i) ?? "").Split(' ', 2);
            bool fits = lines.Length == ranks.Length && parts.Length == 2 && parts[1] == layers[i].Name
                && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out ranks[i])
                && (ranks[i] == layers[i].Ranks.Most || layers[i].Ranks.Allowed.Contains(ranks[i]));
            if (!fits)
                throw new EspalierException($"{path}: line {i + 1} has no rank of {layers[i].Name}; it is of another run, name "
                    + "another folder");
        }
        return ranks;
    }
}
