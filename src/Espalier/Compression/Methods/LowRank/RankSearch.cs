namespace Espalier.Compression.Methods.LowRank;

/// <summary>ENC's ways to find the rank of each layer for a budget of multiply-adds, at most that.</summary>
internal static class RankSearch
{
    /// <summary>How far ENC-Model looks around ENC-Map's ranks: those for so much more and less of the layers' cost (page:
    /// ds).</summary>
    private const double Around = 0.1;

    /// <summary>All layers the same share of their most ranks.</summary>
    public static int[] Uniform(IReadOnlyList<LayerRanks> layers, double budget) =>
        Highest(layers, budget, share => [.. layers.Select(l => l.Nearest(share * l.Most))]);

    /// <summary>
    /// ENC-Map: all layers the same value of the metric; each takes the fewest ranks that have it. The largest such value within
    /// the budget is found by halves, which is where the published walk along the table of values and costs ends, never above the
    /// budget.
    /// </summary>
    /// <param name="curves">What each layer is worth at each rank, see <see cref="RankMetric"/>.</param>
    public static int[] Map(IReadOnlyList<LayerRanks> layers, IReadOnlyList<double[]> curves, double budget) =>
        Highest(layers, budget, value => [.. layers.Select((l, i) => Fewest(l, curves[i], value))]);

    /// <summary>
    /// ENC-Model: between the ranks that ENC-Map finds for a little more and a little less the choices that are worth most for
    /// the network. The page lists all combinations; the same space is gone through by <see cref="Knapsack"/>.
    /// </summary>
    /// <param name="energy">A_p's curves.</param>
    /// <param name="measured">A_m's; null where nothing was measured.</param>
    /// <param name="map">The curves that ENC-Map goes by.</param>
    /// <param name="count">How many of the best.</param>
    public static IReadOnlyList<int[]> Model(IReadOnlyList<LayerRanks> layers, EncMetric metric, IReadOnlyList<double[]> energy,
        IReadOnlyList<double[]>? measured, IReadOnlyList<double[]> map, double budget, int count)
    {
        double whole = layers.Sum(l => l.Cost), least = layers.Sum(l => l.Least);
        int[] more = Map(layers, map, budget + Around * whole);
        int[] fewer = Map(layers, map, Math.Max(least, budget - Around * whole));
        RankOption[][] options = [.. layers.Select((l, i) => Offsets(l, more[i], fewer[i])
            .Select(r => new RankOption(r, l.CostAt(r), metric == EncMetric.Measured ? 0 : Math.Log(energy[i][r - 1]),
                measured is null ? 0 : Math.Log(measured[i][r - 1]))).ToArray())];
        return [.. Knapsack.Best(options, budget, count, (cost, a, b) => Worth(metric, cost / whole, Math.Exp(a), Math.Exp(b)))
            .Select(c => c.Select((o, l) => options[l][o].Rank).ToArray())];
    }

    /// <summary>What a network is worth: A_p, A_m or A_p · C(R)/C + A_m.</summary>
    /// <param name="complexity">C(R)/C.</param>
    public static double Worth(EncMetric metric, double complexity, double energy, double measured) => metric switch
    {
        EncMetric.Energy => energy,
        EncMetric.Measured => measured,
        _ => energy * complexity + measured,
    };

    /// <summary>The fewest ranks with at least a value; all, where none has it.</summary>
    private static int Fewest(LayerRanks layer, double[] curve, double value)
    {
        foreach (int rank in layer.Allowed) if (curve[rank - 1] >= value) return rank;
        return layer.Allowed[^1];
    }

    /// <summary>From the most ranks down by a hundredth of the layer's own.</summary>
    private static IEnumerable<int> Offsets(LayerRanks layer, int more, int fewer)
    {
        int step = Math.Max((int)Math.Round(0.01 * layer.Most, MidpointRounding.AwayFromZero), 1), last = int.MaxValue;
        foreach (int rank in Enumerable.Reverse(layer.Allowed))
        {
            if (rank > more || rank < fewer || (last - rank < step && rank != fewer)) continue;
            yield return last = rank;
        }
    }

    /// <summary>The ranks at the largest value from 0 to 1 whose cost is within the budget; costs rise with the value.</summary>
    private static int[] Highest(IReadOnlyList<LayerRanks> layers, double budget, Func<double, int[]> at)
    {
        budget *= 1 + 1e-12;
        int[] ranks = at(1);
        if (Cost(ranks) <= budget) return ranks;
        double low = 0, high = 1;
        for (int i = 0; i < 50; i++)
        {
            double middle = (low + high) / 2;
            if (Cost(at(middle)) <= budget) low = middle;
            else high = middle;
        }
        return at(low);

        double Cost(int[] ranks) => layers.Zip(ranks, (l, r) => l.CostAt(r)).Sum();
    }
}
