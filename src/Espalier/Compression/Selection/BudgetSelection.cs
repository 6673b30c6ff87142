namespace Espalier.Compression;

/// <summary>
/// Widths of all layers at once under one budget of time: those that lose least by scores that compare over layers. What a width saves
/// depends on the layers beside it, whose products have two widths; so savings are taken around the widths that were found, a few times,
/// each time every layer choosing for itself at one price of time (a Lagrangian). In the end one layer becomes wider and another
/// narrower as long as that loses less. The aim is MDP's (CVPR 2025, arXiv 2504.02168), which has a solver of integer programs for it.
/// </summary>
internal sealed class BudgetSelection
{
    /// <summary>Widths of a layer that are looked at.</summary>
    private const int MostWidths = 12;

    private const int Rounds = 3, Prices = 20;

    /// <summary>Times that are asked for in the end, at most.</summary>
    private const int MostTries = 400;

    private readonly Layer[] layers;
    private readonly Func<RemovalPlan, double> time;
    private readonly double budget;
    private readonly Dictionary<string, double> known = [];
    private int[]? best;
    private double least;

    private BudgetSelection(ChannelScores scores, SelectionOptions options, Func<RemovalPlan, double> time, double budget)
    {
        (this.time, this.budget) = (time, budget);
        layers = [.. scores.Groups.Select(s => Layer.Of(s.Key, s.Value, scores, options))];
    }

    /// <summary>A plan within the budget that loses less than one that is; that one where none is found.</summary>
    /// <param name="scores">Of all channels; their sums are compared.</param>
    /// <param name="time">Of the network with a plan carried out, in the budget's unit.</param>
    public static RemovalPlan Improve(RemovalPlan start, ChannelScores scores, SelectionOptions options, Func<RemovalPlan, double> time,
        double budget)
    {
        var search = new BudgetSelection(scores, options, time, budget)
        {
            least = scores.Groups.Sum(s => start.Channels.GetValueOrDefault(s.Key.Name, []).Sum(k => Math.Max(0, s.Value[k]))),
        };
        search.Run();
        return search.best is { } found ? search.PlanOf(found) : start;
    }

    private void Run()
    {
        int[] around = new int[layers.Length];
        for (int round = 0; round < Rounds; round++)
        {
            double[][] savings = Savings(around);
            int[]? found = AtThePrice(savings);
            if (found is null) return;
            Note(found);
            around = found;
        }
        Exchange();
    }

    /// <summary>What each width of each layer saves where the others are as they are.</summary>
    private double[][] Savings(int[] around) => [.. layers.Select((layer, i) =>
    {
        double whole = Time(With(around, i, 0));
        return layer.Widths.Select((_, w) => whole - Time(With(around, i, w))).ToArray();
    })];

    /// <summary>The lowest price of time at which what the layers choose is within the budget.</summary>
    private int[]? AtThePrice(double[][] savings)
    {
        double low = 1e-9, high = 1e9;
        double unit = Math.Max(layers.Sum(l => l.Losses[^1]), double.Epsilon) / Math.Max(savings.Sum(s => s.Max()), double.Epsilon);
        int[]? found = null;
        for (int i = 0; i < Prices; i++)
        {
            double price = Math.Sqrt(low * high);
            int[] choice = [.. layers.Select((l, k) => l.Best(savings[k], price * unit))];
            if (Time(choice) <= budget) (found, high) = (choice, price);
            else low = price;
        }
        return found;
    }

    /// <summary>Wider here and narrower there, while that loses less within the budget.</summary>
    private void Exchange()
    {
        if (best is null) return;
        int tries = MostTries;
        for (bool better = true; better && tries > 0;)
        {
            better = false;
            for (int wide = 0; wide < layers.Length; wide++)
            {
                if (best[wide] == 0) continue;
                int[] wider = With(best, wide, best[wide] - 1);
                for (int narrow = -1; narrow < layers.Length && tries > 0; narrow++)
                {
                    if (narrow == wide || (narrow >= 0 && best[narrow] == layers[narrow].Widths.Length - 1)) continue;
                    int[] changed = narrow < 0 ? wider : With(wider, narrow, best[narrow] + 1);
                    if (Loss(changed) >= least || tries-- == 0 || !Note(changed)) continue;
                    better = true;
                    break;
                }
            }
        }
    }

    /// <summary>Keeps a choice that is within the budget and loses less than the best so far.</summary>
    private bool Note(int[] choice)
    {
        if (Loss(choice) >= least || Time(choice) > budget) return false;
        (best, least) = (choice, Loss(choice));
        return true;
    }

    private double Loss(int[] choice) => layers.Select((l, i) => l.Losses[choice[i]]).Sum();

    private double Time(int[] choice)
    {
        string key = string.Join(',', choice);
        if (!known.TryGetValue(key, out double seconds)) known[key] = seconds = time(PlanOf(choice));
        return seconds;
    }

    private RemovalPlan PlanOf(int[] choice)
    {
        var plan = new RemovalPlan();
        for (int i = 0; i < layers.Length; i++)
            plan.Add(layers[i].Group, layers[i].Order.Take(layers[i].Group.Count - layers[i].Widths[choice[i]]));
        return plan;
    }

    private static int[] With(int[] choice, int layer, int width)
    {
        int[] changed = [.. choice];
        changed[layer] = width;
        return changed;
    }

    /// <param name="Order">All channels, the least important first.</param>
    /// <param name="Widths">Channels that stay, from all to the fewest.</param>
    /// <param name="Losses">With each of these the sum of the scores that go.</param>
    private sealed record Layer(ChannelGroup Group, int[] Order, int[] Widths, double[] Losses)
    {
        public static Layer Of(ChannelGroup group, double[] scores, ChannelScores all, SelectionOptions options)
        {
            int[] order = all.InOrder(group);
            int fewest = Math.Max(options.Fewest(group), all.Staying(group));
            int[] widths = [.. Enumerable.Range(fewest, group.Count - fewest + 1).Select(n => options.Rounded(n, group))
                .Where(n => n >= fewest).Append(group.Count).Distinct().OrderDescending()];
            int some = Math.Min(MostWidths, widths.Length);
            widths = [.. Enumerable.Range(0, some).Select(i => widths[some == 1 ? 0 : i * (widths.Length - 1) / (some - 1)])];
            return new Layer(group, order, widths, [.. widths.Select(n => order.Take(group.Count - n).Sum(k => Math.Max(0, scores[k])))]);
        }

        /// <summary>The width with the least loss at a price of time, the narrower of two that are equal.</summary>
        public int Best(double[] savings, double price)
        {
            int best = 0;
            for (int w = 1; w < Widths.Length; w++)
                if (Losses[w] - price * savings[w] <= Losses[best] - price * savings[best]) best = w;
            return best;
        }
    }
}
