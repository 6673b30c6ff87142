namespace Espalier.Compression.Methods.NVit;

/// <summary>How wide each layer comes out.</summary>
public enum NVitShape
{
    /// <summary>As the scores of all layers together say.</summary>
    Scores,

    /// <summary>By the rule of ReViT, made of trends that were seen in pruned networks; scores say which units stay.</summary>
    Revit,
}

/// <summary>Which units go next: the least important groups of all layers, or those that a rule has no place for.</summary>
/// <param name="left">What a plan leaves, as a share of the whole: of time, multiply-adds or units.</param>
/// <param name="seconds">How long the network takes with a plan; null where time has no say in the scores.</param>
/// <param name="eta">What a score loses for a saving of the whole time.</param>
internal sealed class NVitChoice(NVitUnits units, Func<RemovalPlan, double> left, NVitShape shape = NVitShape.Scores,
    Func<RemovalPlan, double>? seconds = null, double eta = 0)
{
    private double? whole;

    /// <summary>Fewest units whose removal leaves at most a share; all that may go where none is enough.</summary>
    /// <param name="most">Groups of units at most.</param>
    public IReadOnlyList<(NVitLayer Layer, int[] Units)> Next(double share, int most = int.MaxValue)
    {
        if (shape == NVitShape.Revit) return ByRule(share);
        (NVitLayer Layer, int[] Units)[] order = InOrder();
        int low = 0, high = order.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (Left(order.Take(middle)) <= share) high = middle;
            else low = middle + 1;
        }
        return [.. order.Take(Math.Min(low, most))];
    }

    /// <summary>What would be left with more units gone.</summary>
    public double Left(params IEnumerable<(NVitLayer Layer, int[] Units)> more) => left(units.Plan(more));

    /// <summary>Groups of units of all layers, the least important first.</summary>
    internal (NVitLayer Layer, int[] Units)[] InOrder()
    {
        var groups = new List<(NVitLayer Layer, int[] Units, double Score)>();
        double now = seconds is null || eta == 0 ? 0 : seconds(units.Plan());
        foreach (NVitLayer layer in units.Layers)
        {
            double reward = seconds is null || eta == 0 ? 0 : eta * Saving(layer, now, seconds);
            int[] order = layer.InOrder();
            groups.AddRange(Chunks([.. order.Select(k => layer.Score[k] - reward)], layer.Chunk).Take(layer.Spare / layer.Chunk)
                .Select(c => (layer, Array.ConvertAll(c.Members, i => order[i]), c.Score)));
        }
        return [.. groups.OrderBy(g => g.Score).Select(g => (g.Layer, g.Units))];
    }

    /// <summary>Scores in rising order, so many together: their numbers, and the sums of their scores.</summary>
    internal static IEnumerable<(int[] Members, double Score)> Chunks(IReadOnlyList<double> scores, int size) =>
        Enumerable.Range(0, scores.Count).OrderBy(i => scores[i]).ThenBy(i => i).Chunk(size)
            .Select(c => (c, c.Sum(i => scores[i])));

    /// <summary>The share of the whole time that a unit less saves: see <see cref="PerUnit"/>. Nothing of a layer at its
    /// least.</summary>
    private double Saving(NVitLayer layer, double now, Func<RemovalPlan, double> time)
    {
        int probe = Math.Min(layer.Spare, Math.Max(layer.Chunk, layer.Group.Count / 4));
        if (probe == 0) return 0;
        whole ??= time(new RemovalPlan());
        return PerUnit(now, time(units.Plan((layer, [.. layer.InOrder().Take(probe)]))), probe) / whole.Value;
    }

    /// <summary>
    /// What one unit less saves, by a straight line to the time with a quarter of the layer gone: single units change measured
    /// times by less than these are certain. The published table has as wide steps and is read on straight lines as well.
    /// </summary>
    internal static double PerUnit(double now, double less, int units) => (now - less) / units;

    private IReadOnlyList<(NVitLayer Layer, int[] Units)> ByRule(double share)
    {
        NVitLayer stream = units.Layers[0].Kind == NVitKind.Embedding ? units.Layers[0]
            : throw new EspalierException(
                "the rule of ReViT goes by the width of the stream: Groups have to name it, and Keep not");
        (NVitLayer Layer, int[] Units)[] next = [];
        for (int embed = stream.Group.Count; embed >= stream.Fewest; embed -= stream.Chunk)
        {
            next = [.. units.Layers.Select(layer =>
            {
                int width = Math.Clamp(Width(layer.Kind, layer.Block, units.Blocks, embed), layer.Fewest, layer.Group.Count);
                return (layer, layer.InOrder()[..Math.Max(0, layer.Left - width)]);
            })];
            if (Left(next) <= share) break;
        }
        return next;
    }

    /// <summary>
    /// The rule of ReViT (NViT, section 5 and code), stated there for twelve blocks of heads that are 64 wide: of 12 blocks the
    /// first and the last have 10 heads, the middle the most heads and hidden units, and 2 to 3 and 10 to 11 the fewest. Of
    /// another number of blocks each takes the place that it has in a network of twelve.
    /// </summary>
    /// <param name="block">From 0.</param>
    /// <param name="embed">Width of the stream.</param>
    /// <returns>Units of that kind; more than the network may have.</returns>
    internal static int Width(NVitKind kind, int block, int blocks, int embed)
    {
        int place = (2 * block + 1) * 12 / (2 * blocks);
        bool end = place is 0 or 11, middle = place is >= 3 and <= 8;
        // Half goes to the even number, as in the reference.
        int head = (int)Math.Round(0.005 * embed), query = 16 * (int)Math.Round(0.05 * embed / 8);
        return kind switch
        {
            NVitKind.Embedding => embed,
            NVitKind.Head => end ? 10 : middle ? 4 * head : 2 * head,
            NVitKind.QueryKey => end || middle ? query : query / 2,
            NVitKind.Value => 64,
            _ => middle ? 6 * embed : 3 * embed,
        };
    }
}
