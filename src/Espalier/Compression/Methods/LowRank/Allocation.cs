namespace Espalier.Compression.Methods.LowRank;

/// <summary>How the activation-aware form gives ranks to layers.</summary>
public enum RankRule
{
    /// <summary>The choice that keeps most energy within the budget.</summary>
    Knapsack,

    /// <summary>One price of a multiply-add for all layers, as published: it may stop far below the budget, since a layer that
    /// stays as it is makes a jump.</summary>
    Lagrangian,
}

/// <summary>Options of layers that keep most within a budget: Σ <see cref="RankOption.A"/> is to be large.</summary>
internal static class Allocation
{
    private const int Halvings = 300;

    /// <summary>For each layer the number of an option.</summary>
    public static int[] Of(RankRule rule, IReadOnlyList<IReadOnlyList<RankOption>> layers, double budget) =>
        rule == RankRule.Lagrangian ? Lagrangian(layers, budget) : Knapsack.Best(layers, budget, 1, (_, a, _) => a)[0];

    /// <summary>
    /// BALF's relaxation (arXiv 2509.25136): each layer takes the first option with the largest energy - λ cost; λ is doubled
    /// until the choice is within the budget, then halved in on, and the last one within the budget is taken.
    /// </summary>
    private static int[] Lagrangian(IReadOnlyList<IReadOnlyList<RankOption>> layers, double budget)
    {
        budget *= 1 + 1e-12;
        double low = 0, high = 1 / layers.Sum(l => l.Max(o => o.Cost));
        if (Within(low, out int[] best)) return best;
        // With a price that high nothing counts but the cost.
        for (int i = 0; i < 2000 && !Within(high, out best); i++) high *= 2;
        for (int i = 0; i < Halvings; i++)
        {
            double middle = (low + high) / 2;
            if (Within(middle, out int[] choice)) (high, best) = (middle, choice);
            else low = middle;
        }
        return best;

        bool Within(double price, out int[] choice)
        {
            choice = [.. layers.Select(l => Best(l, price))];
            return layers.Zip(choice, (l, o) => l[o].Cost).Sum() <= budget;
        }
    }

    private static int Best(IReadOnlyList<RankOption> options, double price)
    {
        int best = 0;
        for (int i = 1; i < options.Count; i++)
            if (options[i].A - price * options[i].Cost > options[best].A - price * options[best].Cost) best = i;
        return best;
    }
}
