using System.Text;
using Espalier.Cli;
using Espalier.Inference;

namespace Espalier.Reproduce;

/// <summary>
/// Accuracy on test images that are moved: whether it matters that Patch Slimming keeps the same patches of every image. Beside it
/// the whole network and random patches, which are the same of every image too.
/// </summary>
internal sealed class ShiftResults(CommandContext context, NetworkRuns runs, IReadOnlyList<double> budgets, IReadOnlyList<ulong> seeds)
{
    /// <summary>Of a part of the section.</summary>
    public const string Heading = "### On moved images";

    private static readonly int[] Pixels = [0, 2, 4];

    /// <summary>The lines that are held against each other.</summary>
    public static IReadOnlyList<string> Lines { get; } = ["patch-slimming", ComparedMethod.RandomlyKept];

    /// <summary>Whether there is anything to measure.</summary>
    public bool Any => Rows().Any(r => r.Id == Lines[0]);

    /// <summary>Measures the finished runs and gives the part of the section.</summary>
    public string Part()
    {
        if (!Any) throw new EspalierException($"there is no finished run of {Lines[0]}: train one first, without --moved");
        var text = new StringBuilder(FormattableString.Invariant($"""
            {Heading}

            Patch Slimming keeps the same patches of every image, as random tokens do. All {runs.Test.Count:#,0} test images moved by some
            pixels, the mean of left, right, up and down, black at the edge that comes in; nothing was trained for it. Accuracy in %, in
            brackets what is lost against the images as they are; {Listed()}.

            | method | of MACs | {string.Join(" | ", Pixels.Select(p => p == 0 ? "as they are" : $"{p} pixels"))} |
            | --- | ---: | {string.Join(" | ", Pixels.Select(_ => "---:"))} |

            """));
        foreach (var (id, name, budget) in Rows())
        {
            double[] found = [.. Pixels.Select(pixels => seeds.Average(seed => Accuracy(ComparisonRuns.Name(id, budget, seed), pixels)))];
            string row = FormattableString.Invariant($"| {name} | {budget:0.##} | ") + string.Join(" | ", found.Select((a, i) =>
                FormattableString.Invariant($"{100 * a:0.00}{(i == 0 ? "" : FormattableString.Invariant($" ({100 * (a - found[0]):+0.00;-0.00})"))}"))) + " |";
            context.Terminal.Line(row);
            text.AppendLine(row);
        }
        return text.Append($"""

            {runs.Hours.Measuring()}

            ```sh
            {GivenCommand.Of(context, "vit")}
            ```

            """).ToString();
    }

    private string Listed() => $"seed{(seeds.Count == 1 ? "" : "s")} {string.Join(',', seeds)}";

    private IEnumerable<(string Id, string Name, double Budget)> Rows()
    {
        IEnumerable<(string Id, string Name, double Budget)> all = [(ComparisonRuns.Whole, "whole network, trained on", 1),
            .. from budget in budgets
               from id in Lines
               select (id, ComparedMethod.Transformers.Single(m => m.Id == id).Name, budget)];
        return all.Where(r => seeds.All(s => runs.Record(ComparisonRuns.Name(r.Id, r.Budget, s)) is not null));
    }

    /// <summary>The mean over the directions.</summary>
    private double Accuracy(string name, int pixels)
    {
        using Session session = Session.Open(runs.File(name));
        (int Right, int Down)[] moves = pixels == 0 ? [(0, 0)] : [(pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels)];
        return moves.Average(m => runs.Evaluated(session, new ShiftedImages(runs.Test, m.Right, m.Down),
            $"{name}, moved by {m.Right}, {m.Down}").Accuracy);
    }
}
