using System.Globalization;

namespace Espalier.Compression;

/// <summary>Chooses which channels to remove by their scores: shared by all methods.</summary>
public static class ChannelSelector
{
    /// <summary>The channels that go, in a plan.</summary>
    /// <param name="scores">Of the groups that may lose channels.</param>
    /// <param name="latency">
    /// Milliseconds that the network takes with a plan carried out; wanted for <see cref="SelectionOptions.TargetLatency"/> only.
    /// </param>
    /// <param name="orNone">Whether the plan may be empty.</param>
    /// <exception cref="OutOfReachException">No number of channels reaches the target.</exception>
    /// <exception cref="EspalierException">Nothing would be removed.</exception>
    public static RemovalPlan Choose(DependencyGraph graph, ChannelScores scores, SelectionOptions options,
        Func<RemovalPlan, double>? latency = null, bool orNone = false)
    {
        options.Checked();
        Candidate[] order = Order(scores, options);
        double dense = graph.MultiplyAdds();
        int all = scores.Groups.Keys.Sum(g => g.Count);
        IEnumerable<Candidate> chosen = options switch
        {
            { Ratio.OfAll: { } ratio, Isomorphic: true } => order.Where(c => c.Share <= ratio + 1e-9),
            { Ratio.OfAll: { } ratio, Global: true } => order.Take((int)(ratio * all + 1e-9)),
            { Ratio: { } ratio } => order.Where(c => c.Rank <= (int)(ratio.Of(c.Group) * c.Group.Count + 1e-9)),
            { Threshold: { } threshold } => order.Where(c => c.Score <= threshold),
            { TargetFlops: { } share } => order.Take(Fewest(order, options, plan => graph.MultiplyAdds(plan) / dense,
                share, "of the multiply-adds")),
            _ => order.Take(Fewest(order, options, latency ?? throw new ArgumentNullException(nameof(latency)),
                options.TargetLatency!.Value, "ms")),
        };
        RemovalPlan plan = Plan(chosen, options);
        if (plan.Count == 0 && !orNone)
            throw new EspalierException("nothing would be removed: with so small a target every layer rounds to its full width; "
                + "ask for more");
        return plan;
    }

    /// <summary>
    /// In the order in which they go: by share within their layers, or by score over all of them. What a layer keeps in any case is
    /// not among them, so that others go in its place.
    /// </summary>
    private static Candidate[] Order(ChannelScores scores, SelectionOptions options)
    {
        var all = new List<Candidate>();
        foreach (var (group, values) in scores.Groups)
        {
            int[] byScore = scores.InOrder(group);
            int most = group.Count - scores.Staying(group);
            for (int rank = 0; rank < Math.Min(most, group.Count - options.Fewest(group)); rank++)
                all.Add(new Candidate(group, byScore, values[byScore[rank]], rank + 1) { Most = most });
        }
        if (options.Isomorphic) return [.. InClasses(all, scores).OrderBy(c => c.Share)];
        bool byValue = options.Global || options.Threshold is not null;
        return [.. byValue ? all.OrderBy(c => c.Score) : all.OrderBy(c => (double)c.Rank / c.Group.Count)];
    }

    /// <summary>Ranked among all channels of layers of the same structure.</summary>
    private static IEnumerable<Candidate> InClasses(List<Candidate> all, ChannelScores scores)
    {
        foreach (var members in all.GroupBy(c => Structure(c.Group)))
        {
            int size = scores.Groups.Keys.Where(g => Structure(g) == members.Key).Sum(g => g.Count), rank = 0;
            foreach (Candidate c in members.OrderBy(c => c.Score)) yield return c with { Share = (double)++rank / size };
        }
    }

    /// <summary>What a group's channels go through, in order: two with the same are of one class.</summary>
    private static string Structure(ChannelGroup group) =>
        $"{group.Kind} " + string.Join(' ', group.Slices.Select(s => $"{s.Role} {s.Axis}/{s.Tensor.Rank}"));

    /// <summary>The fewest channels, taken in order, with which the cost is at most the target.</summary>
    private static int Fewest(Candidate[] order, SelectionOptions options, Func<RemovalPlan, double> cost, double target, string unit)
    {
        double Cost(int count) => cost(Plan(order.Take(count), options));
        double least = Cost(order.Length);
        if (least > target)
        {
            string Text(double x) => x.ToString("0.###", CultureInfo.InvariantCulture);
            throw new OutOfReachException($"no width reaches {Text(target)} {unit}: with each layer at its least it is {Text(least)}; "
                + "allow narrower layers, more layers, or ask for less");
        }
        int low = 0, high = order.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (Cost(middle) <= target) high = middle;
            else low = middle + 1;
        }
        return low;
    }

    /// <summary>These channels, with what each layer keeps rounded.</summary>
    private static RemovalPlan Plan(IEnumerable<Candidate> chosen, SelectionOptions options)
    {
        var plan = new RemovalPlan();
        foreach (var layer in chosen.GroupBy(c => c.Group))
        {
            ChannelGroup group = layer.Key;
            int kept = options.Rounded(group.Count - layer.Count(), group);
            plan.Add(group, layer.First().InOrder.Take(Math.Min(group.Count - kept, layer.First().Most)));
        }
        return plan;
    }

    /// <param name="InOrder">All channels of the group, the least important first.</param>
    /// <param name="Rank">In its layer, from 1, the least important first.</param>
    /// <param name="Share">Of its class, that goes with it and those less important.</param>
    private readonly record struct Candidate(ChannelGroup Group, int[] InOrder, double Score, int Rank, double Share = 0)
    {
        /// <summary>How many of the group's channels may go at all.</summary>
        public int Most { get; init; }
    }
}

/// <summary>However many channels go, a network needs more than was asked for: narrower layers, more layers or less to ask for
/// are what helps.</summary>
public sealed class OutOfReachException(string message) : EspalierException(message);
