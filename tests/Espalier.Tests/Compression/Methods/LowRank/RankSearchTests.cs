using Espalier.Compression;
using Espalier.Compression.Methods.LowRank;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

public sealed class RankSearchTests
{
    /// <summary>Two layers of five ranks that cost 10 and 20 each; at five they cost what they do whole.</summary>
    private static readonly LayerRanks[] Two = [new(50, 10, 5), new(100, 20, 5)];

    private static readonly double[][] Energies = [RankMetric.Energy([8, 4, 2, 1, 1], 5), RankMetric.Energy([4, 4, 4, 4, 4], 5)];

    [Fact]
    public void Energy_begins_at_the_second_singular_value()
    {
        Assert.Equal([0, 0.5, 0.8333333333, 1], RankMetric.Energy([4, 3, 2, 1], 4).Select(e => Math.Round(e, 10)));
        Assert.Equal([0, 0.5, 0.75, 0.875, 1], Energies[0]);
        Assert.Equal([0, 0.25, 0.5, 0.75, 1], Energies[1]);
        Assert.Equal([1, 1, 1], RankMetric.Energy([2, 0, 0], 3));
    }

    [Theory]
    [InlineData(0.2, 2, 2, 60)]
    [InlineData(0.25, 2, 2, 60)]
    [InlineData(0.5, 2, 3, 80)]
    [InlineData(0.75, 3, 4, 110)]
    [InlineData(0.875, 4, 5, 140)]
    public void One_value_for_all_layers(double value, int first, int second, double cost)
    {
        // What the value costs is the budget at which it is the largest.
        int[] ranks = RankSearch.Map(Two, Energies, cost);
        Assert.Equal([first, second], ranks);
        Assert.Equal(cost, Two.Zip(ranks, (l, r) => l.CostAt(r)).Sum());
        Assert.True(Energies[0][ranks[0] - 1] >= value && Energies[1][ranks[1] - 1] >= value);
        Assert.True(Two.Zip(RankSearch.Map(Two, Energies, cost - 1), (l, r) => l.CostAt(r)).Sum() < cost);
    }

    [Theory]
    [InlineData(100, 4, 3, 0.4375)]
    [InlineData(110, 3, 4, 0.5625)]
    public void The_most_energy_of_the_network(double budget, int first, int second, double worth)
    {
        RankOption[][] options = [.. Two.Select((l, i) =>
            l.Allowed.Select(r => new RankOption(r, l.CostAt(r), Math.Log(Energies[i][r - 1]))).ToArray())];
        int[] best = [.. Knapsack.Best(options, budget, 1, (_, a, _) => a)[0].Select((o, l) => options[l][o].Rank)];
        Assert.Equal([first, second], best);
        Assert.Equal(worth, Energies[0][first - 1] * Energies[1][second - 1]);
        Assert.Equal(best, All(budget).MaxBy(r => Energies[0][r[0] - 1] * Energies[1][r[1] - 1]));
    }

    [Fact]
    public void Combined_metrics()
    {
        Assert.Equal(1.3125, RankSearch.Worth(EncMetric.Combined, 110 / 150.0, 0.5625, 0.9), 1e-12);
        Assert.Equal(0.9, RankSearch.Worth(EncMetric.Measured, 0.5, 0.5625, 0.9));
        double[][] measured = [[0.1, 0.2, 0.9, 0.95, 1], [0.5, 0.9, 0.95, 0.99, 1]];
        double Worth(int[] r) => RankSearch.Worth(EncMetric.Combined, Two.Zip(r, (l, k) => l.CostAt(k)).Sum() / 150,
            Energies[0][r[0] - 1] * Energies[1][r[1] - 1], measured[0][r[0] - 1] * measured[1][r[1] - 1]);
        IReadOnlyList<int[]> best = RankSearch.Model(Two, EncMetric.Combined, Energies, measured, Energies, 110, 3);
        // Of what lies between the ranks of one value for a little more and a little less.
        int[] more = RankSearch.Map(Two, Energies, 125), fewer = RankSearch.Map(Two, Energies, 95);
        int[][] there = [.. All(110).Where(r => r.Zip(more).All(p => p.First <= p.Second)
            && r.Zip(fewer).All(p => p.First >= p.Second))];
        Assert.Equal(there.OrderByDescending(Worth).Take(3), best);
    }

    [Fact]
    public void A_share_of_the_ranks()
    {
        Assert.Equal([3, 3], RankSearch.Uniform(Two, 90));
        Assert.Equal([2, 2], RankSearch.Uniform(Two, 89));
        Assert.Equal([5, 5], RankSearch.Uniform(Two, 150));
    }

    [Fact]
    public void Accuracy_between_its_samples()
    {
        Close([0.3125, 2.21875, 6.21875], new Pchip([0, 1, 2, 3], [0, 1, 4, 9]), 0.5, 1.5, 2.5);
        Close([1.4375, 1.5, 1.5625], new Pchip([0, 1, 2, 3], [0, 2, 1, 3]), 0.5, 1.5, 2.5);
        Close([0.1143387149, 0.25, 0.3603025114, 0.7135416667], new Pchip([0, 0.4, 0.7, 1], [0, 0.25, 0.5, 1]), 0.2, 0.4, 0.55,
            0.85);
        // What falls or repeats is left out, and so is what comes behind the first that is whole.
        double[] curve = RankMetric.Measured([(1, 0.4), (2, 0.3), (3, 0.4), (5, 0.8), (8, 1.01), (10, 1)], 10);
        var clean = new Pchip([0, 0.1, 0.5, 0.8], [0, 0.4, 0.8, 1.01]);
        for (int r = 1; r <= 10; r++) Assert.Equal(clean.At(r / 10.0), curve[r - 1]);
        Assert.Equal(1.01, curve[9]);
        Assert.Equal([2, 4, 6, 10], RankMetric.RanksToMeasure(20));

        static void Close(double[] expected, Pchip curve, params double[] at)
        {
            for (int i = 0; i < at.Length; i++) Assert.Equal(expected[i], curve.At(at[i]), 1e-10);
        }
    }

    /// <summary>Energies of squares, the whole of a layer as the last option.</summary>
    [Theory]
    [InlineData(60, new[] { 2, 2 }, 1.330233, new[] { 2, 1 }, 1.130233)]
    [InlineData(80, new[] { 1, 5 }, 1.744186, new[] { 2, 1 }, 1.130233)]
    [InlineData(90, new[] { 2, 5 }, 1.930233, null, 0)]
    [InlineData(100, new[] { 3, 5 }, 1.976744, null, 0)]
    [InlineData(110, new[] { 5, 5 }, 2, null, 0)]
    public void Energy_within_a_budget(double budget, int[] best, double energy, int[]? published, double less)
    {
        double[][] e = [[32 / 43.0, 40 / 43.0, 42 / 43.0, 42.5 / 43, 1], [0.2, 0.4, 0.6, 0.8, 1]];
        RankOption[][] options =
        [
            [.. e[0].Select((a, i) => new RankOption(i + 1, Math.Min(10 * (i + 1), 40), a))],
            [.. e[1].Select((a, i) => new RankOption(i + 1, Math.Min(20 * (i + 1), 70), a))],
        ];
        int[] found = Allocation.Of(RankRule.Knapsack, options, budget);
        Assert.Equal(best, found.Select((o, l) => options[l][o].Rank));
        Assert.Equal(energy, found.Select((o, l) => options[l][o].A).Sum(), 1e-6);
        if (published is null) return;
        found = Allocation.Of(RankRule.Lagrangian, options, budget);
        Assert.Equal(published, found.Select((o, l) => options[l][o].Rank));
        Assert.Equal(less, found.Select((o, l) => options[l][o].A).Sum(), 1e-6);
    }

    /// <summary>The knapsack against all choices there are.</summary>
    [Fact]
    public void No_choice_is_better()
    {
        var rng = new Rng(4);
        for (int round = 0; round < 30; round++)
        {
            RankOption[][] layers = [.. Enumerable.Range(0, 5).Select(_ => Enumerable.Range(1, 4)
                .Select(r => new RankOption(r, r * 10, 0, 0) with { Cost = r * (10 + 7 * rng.NextDouble()),
                    A = r * rng.NextDouble() }).ToArray())];
            double budget = 90 + 90 * rng.NextDouble();
            double best = double.NegativeInfinity;
            for (int code = 0; code < 1024; code++)
            {
                RankOption[] choice = [.. layers.Select((l, i) => l[code >> (2 * i) & 3])];
                if (choice.Sum(o => o.Cost) <= budget) best = Math.Max(best, choice.Sum(o => o.A));
            }
            IReadOnlyList<int[]> found = Knapsack.Best(layers, budget, 4, (_, a, _) => a);
            double[] sums = [.. found.Select(c => c.Select((o, l) => layers[l][o].A).Sum())];
            Assert.Equal(best, sums[0], 1e-9);
            Assert.Equal(sums.OrderDescending(), sums);
            Assert.All(found, c => Assert.True(c.Select((o, l) => layers[l][o].Cost).Sum() <= budget));
            Assert.Equal(found.Count, found.Select(c => string.Join(',', c)).Distinct().Count());
        }
        Assert.Empty(Knapsack.Best([[new RankOption(1, 5, 1)]], 4, 1, (_, a, _) => a));
    }

    [Fact]
    public void Ranks_that_are_allowed()
    {
        var ranks = new LayerRanks(1000, 10, 100);
        ranks.Limit(new SelectionOptions { RoundTo = 16, MinKept = 2 });
        Assert.Equal([10, 11, 12, 13, 14, 15, 16, 32, 48, 64, 80, 96, 100], ranks.Allowed);
        Assert.Equal(48, ranks.Nearest(40));
        Assert.Equal((640, 1000), (ranks.CostAt(64), ranks.CostAt(100)));
        ranks.Fix(30);
        Assert.Equal([32], ranks.Allowed);
    }

    private static IEnumerable<int[]> All(double budget) => from a in Enumerable.Range(1, 5) from b in Enumerable.Range(1, 5)
        where Two[0].CostAt(a) + Two[1].CostAt(b) <= budget select new[] { a, b };
}
