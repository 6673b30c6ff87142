using Espalier.Compression;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Selection;

/// <summary>Widths of all layers under one budget, with times that are made up: beside the best of all choices.</summary>
public sealed class BudgetSelectionTests : IDisposable
{
    private readonly Scope scope = new();
    private readonly DependencyGraph graph;
    private readonly ChannelGroup[] groups;

    public BudgetSelectionTests()
    {
        Cnn net = CnnPresets.Create(new CnnConfig("cifar-vgg11") { ImageSize = 16, Channels = 1, NumClasses = 4, Width = 0.125 });
        graph = ModuleGraphs.Build(net, net.Forward, Tensor.Full(new Shape(1, 1, 16, 16), 1));
        groups = [.. new SelectionOptions { Ratio = 0.5 }.Candidates(graph).Take(4)];
    }

    public void Dispose()
    {
        graph.Dispose();
        scope.Dispose();
    }

    [Theory]
    [InlineData(0.3, 1.15)]
    [InlineData(0.5, 1.15)]
    [InlineData(0.8, 1.3)]
    public void LosesHardlyMoreThanTheBestOfAllChoicesAndLessThanAnOrderOfChannels(double share, double most)
    {
        double worst = 1, better = 1;
        for (ulong seed = 1; seed <= 12; seed++)
        {
            var rng = new Rng(seed);
            var scores = new ChannelScores();
            foreach (ChannelGroup g in groups)
            {
                float scale = MathF.Exp(rng.NextFloat(-1.5f, 1.5f));
                scores.Set(g, [.. Enumerable.Range(0, g.Count).Select(_ => (double)(scale * rng.NextFloat()))]);
            }
            double[] prices = [.. groups.Select(_ => 0.2 + rng.NextDouble())];
            double Time(RemovalPlan plan)
            {
                int[] kept = [.. groups.Select(g => g.Count - plan.Channels.GetValueOrDefault(g.Name, []).Length)];
                return Enumerable.Range(0, kept.Length).Sum(i => prices[i] * kept[i] * (i == 0 ? 9 : kept[i - 1]));
            }
            double Loss(RemovalPlan plan) => groups.Sum(g => plan.Channels.GetValueOrDefault(g.Name, []).Sum(k => scores.Groups[g][k]));

            double budget = share * Time(new RemovalPlan());
            var options = new SelectionOptions { TargetLatency = budget, Global = true, RoundTo = 4 };
            RemovalPlan order = ChannelSelector.Choose(graph, scores, options, Time);
            RemovalPlan found = BudgetSelection.Improve(order, scores, options, Time, budget);
            Assert.True(Time(found) <= budget);
            Assert.True(Loss(found) <= Loss(order));
            double least = Best(0, new RemovalPlan(), double.PositiveInfinity);
            worst = Math.Max(worst, Loss(found) / least);
            better = Math.Min(better, Loss(found) / Loss(order));

            double Best(int at, RemovalPlan plan, double so)
            {
                if (at == groups.Length) return Time(plan) <= budget ? Math.Min(so, Loss(plan)) : so;
                ChannelGroup g = groups[at];
                foreach (int kept in Enumerable.Range(2, g.Count - 1).Where(n => n <= 4 || n % 4 == 0))
                {
                    var next = new RemovalPlan();
                    foreach (ChannelGroup before in groups[..at]) next.Add(before, plan.Channels.GetValueOrDefault(before.Name, []));
                    so = Best(at + 1, next.Add(g, scores.InOrder(g).Take(g.Count - kept)), so);
                }
                return so;
            }
        }
        Assert.InRange(worst, 1 - 1e-9, most);
        Assert.True(better < 0.9, $"{better}");
    }
}
