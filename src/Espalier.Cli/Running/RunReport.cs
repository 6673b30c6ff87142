using System.Runtime.InteropServices;
using Espalier.Evaluation;
using Espalier.Reporting;
using Espalier.Training;
using Workers = Espalier.Tensors.Threading.Workers;

namespace Espalier.Cli.Running;

/// <summary>Evaluates one model, pruned and not, and makes a report of it.</summary>
internal static class RunReport
{
    private const string Pruned = "APT, pruned";

    /// <param name="rows">Models to compare with, already evaluated; this model's rows are added.</param>
    /// <param name="history">Of the run that made the model; may be empty.</param>
    public static ReportData Build(EvaluationRun run, List<ModelRow> rows, IReadOnlyList<HistoryPoint> history, string name)
    {
        IReadOnlyList<int> layers = run.Model.AgentLayers;
        var gallery = new List<ImageResult>();
        var counts = new TokenCounts(1 + layers.Count);
        ReportData data = new()
        {
            Title = layers.Count > 0 ? $"{name}: automatic pruning transformer"
                : run.Model.Tokens > 0 ? $"{name}: vision transformer" : $"{name}: convolutional network",
            Subtitle = Subtitle(run),
            Version = VersionAction.Text,
            Curves = [.. ReportBuilder.Curves(name, history, layers)],
        };
        if (layers.Count == 0)
        {
            rows.Add(ModelRow.Of(name, run, prune: false));
            ModelRow.MeasureSpeed(rows);
            return data with { Rows = Rows(rows) };
        }
        Action<ImageResult> pick = ReportBuilder.FirstOfEachClass(gallery);
        ModelEvaluation pruned = run.Run("pruned", prune: true, image =>
        {
            counts.Add(image);
            pick(image);
        });
        // Ratios are against the first row: the unpruned pass where no plain model is compared with.
        rows.Add(ModelRow.Of("APT, unpruned", run, prune: false));
        rows.Add(new ModelRow(Pruned, pruned, run, Prune: true));
        ModelRow.MeasureSpeed(rows);
        return data with
        {
            Rows = Rows(rows),
            TradeOff = [.. ReportBuilder.TradeOff(run.Curve(), run.Model.DenseMultiplyAdds)],
            Tokens = [.. ReportBuilder.Histograms(counts, layers)],
            Gallery = [.. ReportBuilder.Gallery(gallery, run.Data, run.Model)],
        };
    }

    private static ReportRow[] Rows(List<ModelRow> rows) =>
        [.. rows.Select(r => ReportBuilder.Row(r.Name, r.Evaluation, r.Name == Pruned))];

    private static string Subtitle(EvaluationRun run) =>
        $"{run.Model.Dataset ?? run.Data.Name}, {run.Data.Count} test images · {run.Model.Description} · "
        + $"{RuntimeInformation.ProcessArchitecture}, {Workers.Threads} threads";
}
