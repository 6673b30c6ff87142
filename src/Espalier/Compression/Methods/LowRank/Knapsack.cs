namespace Espalier.Compression.Methods.LowRank;

/// <summary>A rank that a layer may have.</summary>
/// <param name="Cost">Multiply-adds.</param>
/// <param name="A">What it adds to the first sum that counts.</param>
/// <param name="B">To the second.</param>
internal readonly record struct RankOption(int Rank, double Cost, double A, double B = 0);

/// <summary>
/// One option of each layer, worth most together within a budget: the multiple-choice knapsack, by dynamic programming over two
/// thousand steps of the cost. Costs are summed exactly; choices whose costs fall into one step compete with one another.
/// </summary>
internal static class Knapsack
{
    private const int Steps = 2000;

    /// <summary>Choices of one step that are kept, of those that nothing else beats in both sums.</summary>
    private const int Kept = 8;

    /// <param name="layers">The options of each.</param>
    /// <param name="count">How many of the best choices.</param>
    /// <param name="worth">Of a choice: of its cost, ΣA and ΣB, which it rises with.</param>
    /// <returns>For each choice the number of the option of each layer, the best choice first; none where all cost too
    /// much.</returns>
    public static IReadOnlyList<int[]> Best(IReadOnlyList<IReadOnlyList<RankOption>> layers, double budget, int count,
        Func<double, double, double, double> worth)
    {
        // Room for rounding: a choice that costs just what there is fits.
        budget *= 1 + 1e-12;
        var rest = new double[layers.Count + 1];
        for (int l = layers.Count - 1; l >= 0; l--) rest[l] = rest[l + 1] + layers[l].Min(o => o.Cost);
        double least = rest[0], step = Math.Max((budget - least) / Steps, double.Epsilon);
        if (least > budget) return [];
        var trail = new List<(int Before, int Option)> { (-1, -1) };
        List<Choice> choices = [new(0, 0, 0, 0)];
        for (int l = 0; l < layers.Count; l++)
        {
            var shelves = new SortedDictionary<int, List<Choice>>();
            foreach (Choice choice in choices)
            {
                for (int o = 0; o < layers[l].Count; o++)
                {
                    RankOption option = layers[l][o];
                    double cost = choice.Cost + option.Cost, over = cost + rest[l + 1] - least;
                    if (cost + rest[l + 1] > budget) continue;
                    int shelf = (int)Math.Min(Steps, Math.Max(0, over) / step);
                    if (!shelves.TryGetValue(shelf, out List<Choice>? there)) shelves.Add(shelf, there = []);
                    there.Add(new Choice(cost, choice.A + option.A, choice.B + option.B, choice.Trail, o));
                    if (there.Count > 512) shelves[shelf] = Best(there, Math.Min(count, Kept));
                }
            }
            choices = [];
            foreach (List<Choice> shelf in shelves.Values)
            {
                foreach (Choice kept in Best(shelf, Math.Min(count, Kept)))
                {
                    trail.Add((kept.Trail, kept.Option));
                    choices.Add(kept with { Trail = trail.Count - 1 });
                }
            }
        }
        return [.. choices.OrderByDescending(c => worth(c.Cost, c.A, c.B)).ThenBy(c => c.Cost).Take(count)
            .Select(c => Options(c.Trail))];

        int[] Options(int at)
        {
            var options = new int[layers.Count];
            for (int l = layers.Count - 1; l >= 0; l--) (at, options[l]) = trail[at];
            return options;
        }
    }

    /// <summary>So many choices, those that no other beats in both sums first.</summary>
    private static List<Choice> Best(List<Choice> choices, int count)
    {
        List<Choice> left = choices, best = [];
        left.Sort(Choice.Compare);
        while (left.Count > 0 && best.Count < count)
        {
            List<Choice> front = [left[0]], beaten = [];
            foreach (Choice choice in left.Skip(1)) (choice.B > front[^1].B ? front : beaten).Add(choice);
            // A front of two sums may be long; of one it is one choice.
            int room = Math.Min(front.Count, Kept - best.Count);
            best.AddRange(Enumerable.Range(0, room).Select(i => front[(int)((long)i * front.Count / room)]));
            left = beaten;
        }
        return best;
    }

    private readonly record struct Choice(double Cost, double A, double B, int Trail, int Option = -1)
    {
        /// <summary>The larger sums first, then the smaller cost.</summary>
        public static int Compare(Choice x, Choice y) => x.A != y.A ? y.A.CompareTo(x.A) : x.B != y.B ? y.B.CompareTo(x.B)
            : x.Cost != y.Cost ? x.Cost.CompareTo(y.Cost) : (x.Trail, x.Option).CompareTo((y.Trail, y.Option));
    }
}
