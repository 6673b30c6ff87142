using Espalier.Models;

namespace Espalier.Cli.Running;

/// <summary>One line of a comparison: a model, how it was run, and what came out.</summary>
internal sealed record ModelRow(string Name, Evaluation Evaluation, EvaluationRun Run, bool Prune)
{
    private const int Rounds = 5;

    /// <summary>Longest time, in seconds, that one round of all rows may take to be worth repeating.</summary>
    private const double LongestRound = 4;

    public static ModelRow Of(string name, EvaluationRun run, bool prune) => new(name, run.Run(name, prune), run, prune);

    /// <summary>
    /// Measures the images a second again where that is quick: the rows in turn, several rounds, the median of each. What
    /// disturbs the machine for a moment then disturbs no single row.
    /// </summary>
    public static void MeasureSpeed(List<ModelRow> rows)
    {
        if (rows.Sum(r => r.Evaluation.Images / Math.Max(r.Evaluation.ImagesPerSecond, 1e-9)) > LongestRound) return;
        double[][] rates = [.. rows.Select(r => new double[Rounds])];
        for (int round = 0; round < Rounds; round++)
        {
            for (int i = 0; i < rows.Count; i++)
                rates[i][round] = rows[i].Run.Run($"speed of {rows[i].Name}", rows[i].Prune).ImagesPerSecond;
        }
        for (int i = 0; i < rows.Count; i++)
        {
            Array.Sort(rates[i]);
            rows[i] = rows[i] with { Evaluation = rows[i].Evaluation with { ImagesPerSecond = rates[i][Rounds / 2] } };
        }
    }
}
