namespace Espalier.Compression;

/// <summary>
/// How far each layer can go: one group of channels after the other loses a rising share of its least important, everything else
/// stays as it is, and the network is evaluated without any training (Li et al., arXiv 1608.08710, section 3.2).
/// </summary>
public sealed record Sensitivity
{
    /// <summary>Shares of a group's channels to remove, in (0, 1), rising.</summary>
    public IReadOnlyList<double> Ratios { get; init; } = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

    /// <summary>Accuracy that a group may cost, as a share: 0.01 for one point.</summary>
    public double Tolerance { get; init; } = 0.01;

    /// <summary>Which groups, and the fewest channels that each keeps; how much goes is not looked at.</summary>
    public SelectionOptions Limits { get; init; } = new();

    /// <summary>Removes, evaluates and brings back, for each group and share; the network is as before in the end.</summary>
    /// <param name="job">Its evaluation images are what accuracy is measured on; some hundreds tell enough.</param>
    /// <param name="progress">Gets the evaluations done and those to do.</param>
    /// <exception cref="EspalierException">No layer may lose channels.</exception>
    public SensitivityResult Sweep(CompressionJob job, ImportanceMethod method, Action<int, int>? progress = null)
    {
        using DependencyGraph graph = job.Graph();
        ChannelScores scores = method.Score(job, graph, Limits.Candidates(graph));
        int done = 0, all = 2 + scores.Groups.Count * Ratios.Count;
        double accuracy = Measure(null);
        var groups = new List<GroupSensitivity>();
        var together = new RemovalPlan();
        foreach (var (group, values) in scores.Groups)
        {
            int[] order = [.. Enumerable.Range(0, group.Count).OrderBy(k => values[k]).ThenBy(k => k)];
            var points = new List<SensitivityPoint>();
            foreach (double ratio in Ratios)
            {
                int removed = Math.Min((int)(ratio * group.Count + 1e-9), group.Count - Limits.Fewest(group));
                SensitivityPoint last = points.Count == 0 ? new(0, 0, accuracy) : points[^1];
                double now = removed == last.Removed ? Known(last.Accuracy)
                    : Measure(new RemovalPlan().Add(group, order.Take(removed)));
                points.Add(new SensitivityPoint(ratio, removed, now));
            }
            // The first share that costs too much is where it ends: later ones that do not are luck.
            SensitivityPoint[] within = [.. points.TakeWhile(p => p.Accuracy >= accuracy - Tolerance - 1e-9)];
            groups.Add(new GroupSensitivity(group.Name, group.Count, points, within.Length == 0 ? 0 : within[^1].Ratio));
            if (within.Length > 0) together.Add(group, order.Take(within[^1].Removed));
        }
        return new SensitivityResult(accuracy, Tolerance, groups, graph.MultiplyAdds(), graph.MultiplyAdds(together),
            together.Count == 0 ? Known(accuracy) : Measure(together));

        double Measure(RemovalPlan? plan)
        {
            using IDisposable? smaller = plan is null ? null : Removal.Try(graph, plan);
            return Known(job.Evaluate().Scalars["accuracy"]);
        }

        double Known(double value)
        {
            progress?.Invoke(++done, all);
            return value;
        }
    }
}

/// <param name="Accuracy">Of the whole network, 0 to 1.</param>
/// <param name="Tolerance">Accuracy that a group might cost.</param>
/// <param name="MultiplyAdds">Of the whole network, for one image.</param>
/// <param name="MultiplyAddsTogether">With every group at its <see cref="GroupSensitivity.Most"/>.</param>
/// <param name="AccuracyTogether">The same: what the groups cost one by one adds up.</param>
public sealed record SensitivityResult(double Accuracy, double Tolerance, IReadOnlyList<GroupSensitivity> Groups,
    long MultiplyAdds, long MultiplyAddsTogether, double AccuracyTogether);

/// <param name="Name">Of the <see cref="ChannelGroup"/>.</param>
/// <param name="Most">The largest share of the sweep up to which it costs no more than the tolerance; 0 for none.</param>
public sealed record GroupSensitivity(string Name, int Channels, IReadOnlyList<SensitivityPoint> Points, double Most);

/// <param name="Removed">Channels; the least that a layer keeps may leave it below the share.</param>
/// <param name="Accuracy">0 to 1.</param>
public readonly record struct SensitivityPoint(double Ratio, int Removed, double Accuracy);
