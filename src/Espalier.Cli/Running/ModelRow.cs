using Espalier.Evaluation;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>One line of a comparison: a model, how it was run, and what came out.</summary>
internal sealed record ModelRow(string Name, ModelEvaluation Evaluation, EvaluationRun Run, bool Prune)
{
    private const int Rounds = 5;

    /// <summary>Seconds that a round of all rows may take.</summary>
    private const double LongestRound = 4;

    public static ModelRow Of(string name, EvaluationRun run, bool prune) => new(name, run.Run(name, prune), run, prune);

    /// <summary>
    /// Measures the images a second of all rows again, in turn and on the same images: what disturbs the machine for a moment, or
    /// makes it slower with time, then disturbs no single row. Where not even a batch of each is quickly done, the speed stays
    /// that of the evaluation.
    /// </summary>
    public static void MeasureSpeed(List<ModelRow> rows)
    {
        EvaluationRun first = rows[0].Run;
        double imageSeconds = rows.Sum(r => 1 / Math.Max(r.Evaluation.ImagesPerSecond, 1e-9));
        int batches = (int)Math.Min(LongestRound / (imageSeconds * first.BatchSize), 1 << 20);
        if (batches == 0) return;
        using var scope = new Scope();
        var images = rows.Select(r => r.Run.Model).DistinctBy(Input)
            .ToDictionary(Input, m => ModelSpeed.Batches(first.Data, m, first.BatchSize, batches));
        double[] rates = ModelSpeed.ImagesPerSecond([.. rows.Select(r => new ModelSpeed.Timed(
            ModelSpeed.Pass(r.Run.Model, r.Run.Rule(r.Prune)), images[Input(r.Run.Model)]))], Rounds);
        for (int i = 0; i < rows.Count; i++)
            rows[i] = rows[i] with { Evaluation = rows[i].Evaluation with { ImagesPerSecond = rates[i] } };

        static Preprocessing Input(Session m) => m.Preprocessing;
    }
}
