using Espalier.Compression;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Selection;

public sealed class ChannelSelectorTests : IDisposable
{
    private readonly Scope scope = new();
    private readonly Cnn net;
    private readonly DependencyGraph graph;
    private readonly IReadOnlyList<ChannelGroup> groups;

    public ChannelSelectorTests()
    {
        net = CnnPresets.Create(new CnnConfig("cifar-vgg11") { ImageSize = 16, Channels = 1, NumClasses = 4, Width = 0.25 });
        graph = ModuleGraphs.Build(net, net.Forward, Tensor.Full(new Shape(1, 1, 16, 16), 1));
        groups = new SelectionOptions { Ratio = 0.5 }.Candidates(graph);
    }

    [Fact]
    public void ARatioTakesTheLowestOfEachLayer()
    {
        RemovalPlan plan = Choose(new SelectionOptions { Ratio = 0.25 });
        Assert.Equal(groups.Count, plan.Channels.Count);
        foreach (ChannelGroup g in groups) Assert.Equal(Enumerable.Range(0, g.Count / 4), plan.Channels[g.Name]);
    }

    [Fact]
    public void GloballyTheLowestOfAllGo()
    {
        // The first layer is the least important everywhere: it loses all but its least, the others the rest.
        ChannelScores scores = new();
        for (int i = 0; i < groups.Count; i++) scores.Set(groups[i], [.. Enumerable.Range(0, groups[i].Count).Select(k => i * 1000.0 + k)]);
        RemovalPlan plan = ChannelSelector.Choose(graph, scores, new SelectionOptions { Ratio = 0.05, Global = true, MinKept = 3 });
        Assert.Equal(groups[0].Count - 3, plan.Channels[groups[0].Name].Length);
        Assert.DoesNotContain(groups[^1].Name, plan.Channels.Keys);
    }

    /// <summary>What a layer keeps in any case does not count: the next ones go in its place.</summary>
    [Fact]
    public void AsManyGoAsTheRatioSays()
    {
        ChannelScores scores = new();
        for (int i = 0; i < groups.Count; i++) scores.Set(groups[i], [.. Enumerable.Range(0, groups[i].Count).Select(k => i * 1000.0 + k)]);
        int all = groups.Sum(g => g.Count);
        foreach (double ratio in (double[])[0.1, 0.3, 0.8])
            Assert.Equal((int)(ratio * all), ChannelSelector.Choose(graph, scores, new SelectionOptions { Ratio = ratio, Global = true }).Count);
        int least = groups.Sum(g => new SelectionOptions().Fewest(g.Count));
        Assert.Equal(all - least, ChannelSelector.Choose(graph, scores, new SelectionOptions { Ratio = 0.999, Global = true }).Count);
    }

    [Fact]
    public void AThresholdTakesWhatIsAtMostAsMuch()
    {
        ChannelScores scores = new();
        scores.Set(groups[0], [.. Enumerable.Range(0, groups[0].Count).Select(k => k * 0.1)]);
        RemovalPlan plan = ChannelSelector.Choose(graph, scores, new SelectionOptions { Threshold = 0.3001 });
        Assert.Equal([0, 1, 2, 3], plan.Channels[groups[0].Name]);
    }

    [Theory]
    [InlineData(0.8, false)]
    [InlineData(0.5, false)]
    [InlineData(0.5, true)]
    [InlineData(0.2, true)]
    public void AFlopsTargetIsReachedAndNotOvershotByMoreThanAChannel(double share, bool global)
    {
        RemovalPlan plan = Choose(new SelectionOptions { TargetFlops = share, Global = global });
        double left = (double)graph.MultiplyAdds(plan) / graph.MultiplyAdds();
        Assert.InRange(left, share - 0.03, share);
    }

    [Fact]
    public void ALatencyTargetAsksTheClock()
    {
        int asked = 0;
        RemovalPlan plan = ChannelSelector.Choose(graph, Rising(), new SelectionOptions { TargetLatency = 6 },
            p => { asked++; return 10.0 * graph.MultiplyAdds(p) / graph.MultiplyAdds(); });
        Assert.InRange(10.0 * graph.MultiplyAdds(plan) / graph.MultiplyAdds(), 5.5, 6);
        Assert.InRange(asked, 2, 40);
    }

    [Theory]
    [InlineData(47, 48)]
    [InlineData(93, 96)]
    [InlineData(122, 120)]
    [InlineData(116, 120)]
    [InlineData(90, 88)]
    [InlineData(105, 104)]
    [InlineData(83, 80)]
    [InlineData(44, 48)]
    [InlineData(52, 56)]
    [InlineData(4, 4)]
    public void RoundsToMultiplesOfEight(int kept, int expected) =>
        Assert.Equal(expected, new SelectionOptions { RoundTo = 8 }.Rounded(kept, 128));

    [Fact]
    public void KeptCountsAreMultiples()
    {
        RemovalPlan plan = Choose(new SelectionOptions { Ratio = 0.4, RoundTo = 4 });
        foreach (var (name, channels) in plan.Channels) Assert.Equal(0, (graph[name].Count - channels.Length) % 4);
    }

    /// <summary>Whole vectors of this processor, or fewer than one; what is inside attention stays as chosen.</summary>
    [Fact]
    public void AutomaticRoundingKeepsWholeVectors()
    {
        int vector = Map.WholeVectors(1);
        var options = new SelectionOptions { Ratio = 0.4, RoundTo = SelectionOptions.Automatic };
        Assert.True(vector is 8 or 16 && options.Multiple == vector);
        Assert.Equal([vector - 3, vector, 2 * vector, 2 * vector, 2 * vector + 1],
            [options.Rounded(vector - 3, 128), options.Rounded(vector + 1, 128), options.Rounded(2 * vector - 1, 128),
                options.Rounded(2 * vector + 1, 128), options.Rounded(2 * vector + 7 * vector / 8, 2 * vector + 1)]);
        RemovalPlan plan = Choose(options);
        Assert.All(plan.Channels, p => Assert.True(graph[p.Key].Count - p.Value.Length is var kept && (kept <= vector || kept % vector == 0)));
        Assert.Contains(plan.Channels, p => graph[p.Key].Count - p.Value.Length > vector);
        using Tensor weight = Tensor.Unscoped(new Shape(4, 2));
        foreach (var (kind, kept) in new[] { (ChannelKind.Heads, 19), (ChannelKind.QueryKey, 19), (ChannelKind.Value, 19) })
            Assert.Equal(kept, options.Rounded(kept, Group("a", weight, kind)));
    }

    /// <summary>A network that is to lose 70 % in three steps loses the same share in each.</summary>
    [Fact]
    public void GeometricStepsByHand() => Assert.Equal([0.66943, 0.44814, 0.3],
        Enumerable.Range(1, 3).Select(round => Math.Round(PruningSchedule.Remaining.Left(0.3, round, 3), 5)));

    /// <summary>Two layers of four channels whose costs are made up: the best choice under each budget.</summary>
    [Theory]
    [InlineData(5, 6)]
    [InlineData(8, 7)]
    [InlineData(11, 11)]
    [InlineData(14, 12)]
    public void TheBestOfTwoLayersByHand(double budget, double best)
    {
        using Tensor a = Tensor.Unscoped(new Shape(4, 2)), b = Tensor.Unscoped(new Shape(4, 2));
        ChannelGroup first = Group("a", a, ChannelKind.Hidden), second = Group("b", b, ChannelKind.Hidden);
        // Values 0, 3, 5, 6 and 0, 4, 6, 7 of one to four channels, with times 0, 4, 6, 9 and 0, 3, 5, 8.
        var scores = new ChannelScores().Set(first, [1, 2, 3, 9]).Set(second, [1, 2, 4, 9]);
        double Time(RemovalPlan plan) => Cost(plan, first, [9, 6, 4, 0]) + Cost(plan, second, [8, 5, 3, 0]);
        var options = new SelectionOptions { TargetLatency = budget, Global = true, MinKept = 1 };
        RemovalPlan plan = BudgetSelection.Improve(ChannelSelector.Choose(graph, scores, options, Time), scores, options, Time, budget);
        Assert.True(Time(plan) <= budget);
        Assert.Equal(best, Cost(plan, first, [6, 5, 3, 0]) + Cost(plan, second, [7, 6, 4, 0]));

        static double Cost(RemovalPlan plan, ChannelGroup group, double[] of) => of[plan.Channels.GetValueOrDefault(group.Name, []).Length];
    }

    [Fact]
    public void LayersCanBeLeftAlone()
    {
        var options = new SelectionOptions { Ratio = 0.5, Keep = ["feature.0", "feature.4*"] };
        Assert.DoesNotContain(options.Candidates(graph), g => g.Name is "feature.0" or "feature.4");
        Assert.Contains("no layer", Assert.Throws<EspalierException>(
            () => (options with { Keep = ["nothing*"] }).Candidates(graph)).Message);
        Assert.Contains("no layers", Assert.Throws<EspalierException>(
            () => (options with { Keep = ["*"] }).Candidates(graph)).Message);
    }

    [Fact]
    public void ImpossibleRequestsAreOneLine()
    {
        foreach (SelectionOptions bad in (SelectionOptions[])[new() { Ratio = 1.2 }, new() { TargetFlops = 0 }, new(),
            new() { Ratio = 0.5, TargetFlops = 0.5 }, new() { Ratio = 0.5, RoundTo = 0 }, new() { TargetFlops = 0.00001 },
            new() { Ratio = 0.001 }])
        {
            Assert.DoesNotContain('\n', Assert.ThrowsAny<EspalierException>(() => Choose(bad)).Message);
        }
        Assert.Throws<OutOfReachException>(() => Choose(new() { TargetFlops = 0.00001 }));
    }

    [Theory]
    [InlineData(PruningSchedule.Linear, new[] { 0.85, 0.7, 0.55, 0.4 })]
    [InlineData(PruningSchedule.Agp, new[] { 0.653125, 0.475, 0.409375, 0.4 })]
    [InlineData(PruningSchedule.Remaining, new[] { 0.795270729, 0.632455532, 0.502973372, 0.4 })]
    public void RoundsLeadToTheEnd(PruningSchedule schedule, double[] left)
    {
        double channels = 1, flops = 1;
        for (int round = 1; round <= 4; round++)
        {
            channels *= 1 - new SelectionOptions { Ratio = 0.6 }.Round(schedule, round, 4).Ratio!.OfAll!.Value;
            flops *= new SelectionOptions { TargetFlops = 0.4 }.Round(schedule, round, 4).TargetFlops!.Value;
            Assert.Equal(left[round - 1], channels, 1e-9);
            Assert.Equal(left[round - 1], flops, 1e-9);
        }
    }

    /// <summary>What a round took too much, since widths are rounded, the next ones take less.</summary>
    [Fact]
    public void RoundsThatTakeTooMuchLeadToTheSameEnd()
    {
        double Asked(int round, double left) =>
            new SelectionOptions { TargetFlops = 0.4 }.Round(PruningSchedule.Linear, round, 4, left).TargetFlops!.Value;
        Assert.Equal(0.85, Asked(1, 1), 1e-9);
        Assert.Equal(0.7 / 0.8, Asked(2, 0.8), 1e-9);
        Assert.Equal(0.4 / 0.5, Asked(4, 0.5), 1e-9);
        Assert.InRange(Asked(3, 0.5), 0.999, Math.BitDecrement(1.0));
    }

    public void Dispose()
    {
        graph.Dispose();
        net.Dispose();
        scope.Dispose();
    }

    private RemovalPlan Choose(SelectionOptions options) => ChannelSelector.Choose(graph, Rising(), options);

    /// <summary>Channel k of each layer is worth k.</summary>
    private ChannelScores Rising()
    {
        ChannelScores scores = new();
        foreach (ChannelGroup g in groups) scores.Set(g, [.. Enumerable.Range(0, g.Count).Select(k => (double)k)]);
        return scores;
    }

    /// <summary>Two layers of one kind and a stream whose scores are of another size: each class loses half, within it the least.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true, "a:2,3", "b:1,3", "c:1,3")]
    public void Layers_compete_with_those_of_their_structure(bool isomorphic, params string[] expected)
    {
        using Tensor a = Tensor.Unscoped(new Shape(4, 2)), b = Tensor.Unscoped(new Shape(4, 2)), c = Tensor.Unscoped(new Shape(4, 2));
        var scores = new ChannelScores().Set(Group("a", a, ChannelKind.Hidden), [0.9, 0.8, 0.1, 0.2])
            .Set(Group("b", b, ChannelKind.Hidden), [0.7, 0.3, 0.6, 0.05]).Set(Group("c", c, ChannelKind.Stream), [90, 10, 50, 20]);
        RemovalPlan plan = ChannelSelector.Choose(graph, scores, new SelectionOptions
        {
            Ratio = 0.5, Global = true, Isomorphic = isomorphic, MinKept = 1,
        });
        if (isomorphic) Assert.Equal(expected, plan.Channels.Select(p => $"{p.Key}:{string.Join(',', p.Value)}"));
        else Assert.False(plan.Channels.ContainsKey("c"));
    }

    /// <summary>Four channels.</summary>
    private static ChannelGroup Group(string name, Tensor weight, ChannelKind kind) => new(name, 0,
        [new GroupSlice(name + ".weight", weight, 0, ChannelRole.Producer, [[0], [1], [2], [3]])], kind, null);

    [Fact]
    public void Isomorphic_is_a_way_to_compete()
    {
        Assert.Contains("Global", Assert.Throws<EspalierException>(() => new SelectionOptions { Ratio = 0.5, Isomorphic = true }.Checked())
            .Message);
        Assert.Contains("threshold", Assert.Throws<EspalierException>(() =>
            new SelectionOptions { Threshold = 1, Isomorphic = true, Global = true }.Checked()).Message);
    }
}
