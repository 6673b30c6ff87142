using System.Text;
using Espalier.Cli;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Tensors.Threading;

namespace Espalier.Reproduce;

/// <summary>
/// Multiply-adds or time as what channels of all layers compete for, at equal time: widths that lose least under a budget of time, beside
/// the share of the multiply-adds at which the network is predicted to take as long.
/// </summary>
internal sealed class BudgetReproduction(CommandContext context, string folder, string? dataDir, IReadOnlyList<string> networks)
{
    private const string Scores = "output-error";
    private const int Halvings = 12;

    private static readonly double[] Shares = [0.7, 0.5, 0.35];
    private static readonly TimeSpan Burst = TimeSpan.FromSeconds(0.5);
    private readonly NetworkRuns runs = new(context, folder, Datasets.Open("fashion-mnist", dataDir), 28);

    /// <summary>Does what is not done yet, times all and gives the section of the page.</summary>
    public string Section()
    {
        var text = new StringBuilder(FormattableString.Invariant($"""
            ## Multiply-adds or time as the budget

            The trained networks of `models/`: channels of all layers compete by `{Scores} --global`, recovered without training. Either a
            share of the multiply-adds is asked for, the largest at which the network is predicted to take no longer than the share of
            the time; or that share of the time. Accuracy in % of the {runs.Test.Count:#,0} test images of Fashion-MNIST; times are measured, of one image,
            in turn with the whole network.

            | network | asked time | by MACs: MACs left | time | accuracy | by time: MACs left | time | accuracy |
            | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |

            """));
        foreach (string network in networks)
            foreach (double share in Shares)
            {
                string row = FormattableString.Invariant($"| `{network}` | {share:0.##} | {Line(network, share, byTime: false)} | ")
                    + $"{Line(network, share, byTime: true)} |";
                context.Terminal.Line(row);
                text.AppendLine(row);
            }
        text.Append($"""

            Timed with {Workers.Threads} threads. {runs.Made} {runs.Hours.Measuring()} The command:

            ```sh
            {GivenCommand.Of(context, "budget")}
            ```

            """);
        return text.ToString();
    }

    /// <summary>How long all lines will take on this machine, by one of each kind: none trains, and what is measured of layers is kept.
    /// </summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates() =>
        from network in networks
        from byTime in new[] { false, true }
        select ($"{network}, {Shares.Length} shares by {(byTime ? "time" : "multiply-adds")}", Shares.Length * runs.Estimate(
            () => Model.Open(SizeReproduction.Start(network)), _ => Method(Shares[0]), job => Remove(job, Shares[0], byTime), 0));

    private static CompressionMethod Method(double share) => CompressionMethods.Get(Scores) with
    {
        Selection = new() { TargetTime = share, Global = true, RoundTo = SelectionOptions.Automatic }, Recover = new RecoverOptions(),
    };

    private static void Remove(CompressionJob job, double share, bool byTime)
    {
        if (byTime)
        {
            job.Run();
            return;
        }
        var how = (CompressionMethod)job.Options;
        using DependencyGraph graph = job.Graph();
        ChannelScores scores = ((ImportanceMethod)how).Score(job, graph, how.Selection.Candidates(graph));
        job.Remove(graph, InMultiplyAdds(graph, scores, how.Selection with { TargetTime = null }, share));
    }

    private string Line(string network, double share, bool byTime)
    {
        string name = FormattableString.Invariant($"{network}-{(byTime ? "time" : "macs")}-{share:0.##}"), start = SizeReproduction.Start(network);
        using Model model = Model.Open(start);
        RunRecord record;
        try
        {
            record = runs.Do(name, () => Model.Open(start), Method(share), job => Remove(job, share, byTime));
        }
        catch (OutOfReachException e)
        {
            // A narrow network may be as narrow as channels of whole vectors allow before it takes so little time.
            context.Terminal.Line($"{name}: {e.Message}");
            return "out of reach | | ";
        }
        using Session whole = model.Session(), small = Session.Open(runs.File(name));
        float[] image = new float[model.Channels * model.ImageSize * model.ImageSize];
        Array.Fill(image, 0.5f);
        var (all, part) = SideBySide.Milliseconds(whole, small, image, Burst);
        return FormattableString.Invariant($"{record.MultiplyAdds / whole.DenseMultiplyAdds:0.000} | {part / all:0.000} | {100 * record.Accuracy:0.00}");
    }

    /// <summary>With the most multiply-adds that are predicted to take no more than a share of the time.</summary>
    private static RemovalPlan InMultiplyAdds(DependencyGraph graph, ChannelScores scores, SelectionOptions selection, double share)
    {
        var times = new NetworkTimes(graph, TimeTable.Open(), [.. scores.Groups.Keys]);
        times.Measure();
        double budget = share * times.Of(), low = 0, high = 1;
        RemovalPlan? found = null;
        for (int i = 0; i < Halvings; i++)
        {
            double flops = (low + high) / 2;
            try
            {
                RemovalPlan plan = ChannelSelector.Choose(graph, scores, selection with { TargetFlops = flops }, orNone: true);
                if (times.Of(plan) > budget)
                {
                    high = flops;
                    continue;
                }
                found = plan;
            }
            catch (OutOfReachException)
            {
                // So few are out of reach.
            }
            low = flops;
        }
        return found ?? throw new OutOfReachException(FormattableString.Invariant($"no share of the multiply-adds takes {share:0.##} of the time"));
    }
}
