using Espalier.Evaluation;
using Espalier.Reporting;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>Evaluates one model, pruned and not, and makes a report of it.</summary>
internal static class RunReport
{
    private const string Pruned = "APT, pruned", Unpruned = "APT, unpruned";

    /// <param name="rows">Models to compare with, already evaluated; this model's rows are added.</param>
    /// <param name="history">Of the run that made the model; may be empty.</param>
    public static ReportData Build(EvaluationRun run, List<ModelRow> rows, IReadOnlyList<HistoryPoint> history, string name)
    {
        IReadOnlyList<int> layers = run.Model.AgentLayers;
        var gallery = new List<ImageResult>();
        var counts = new TokenCounts(1 + layers.Count);
        var classes = new ClassCounts(run.Model.NumClasses);
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
            Action<ImageResult> choose = ReportBuilder.FirstRightAndWrong(gallery);
            rows.Add(new ModelRow(name, run.Run(name, prune: false, image =>
            {
                classes.Add(image);
                choose(image);
            }), run, Prune: false));
            ModelRow.MeasureSpeed(rows);
            IEnumerable<ImageResult> rightFirst = gallery.OrderBy(r => r.Label == r.Prediction ? 0 : 1);
            return data with
            {
                Rows = Rows(rows),
                Gallery = [.. ReportBuilder.Gallery(rightFirst, run.Data, run.Model)],
                Confusion = ReportBuilder.Confusion(classes, run.Model, run.Data),
            };
        }
        Action<ImageResult> pick = ReportBuilder.FirstOfEachClass(gallery);
        ModelEvaluation pruned = run.Run("pruned", prune: true, image =>
        {
            counts.Add(image);
            classes.Add(image);
            pick(image);
        });
        // Ratios are against the first row: the unpruned pass where no plain model is compared with.
        rows.Add(ModelRow.Of(Unpruned, run, prune: false));
        rows.Add(new ModelRow(Pruned, pruned, run, Prune: true));
        ModelRow.MeasureSpeed(rows);
        ReportRow[] compared = Rows(rows);
        return data with
        {
            Rows = compared,
            Unpruned = compared.Single(r => r.Name == Unpruned),
            Confusion = ReportBuilder.Confusion(classes, run.Model, run.Data),
            TradeOff = [.. ReportBuilder.TradeOff(run.Curve(), run.Model.DenseMultiplyAdds)],
            Tokens = [.. ReportBuilder.Histograms(counts, layers)],
            Gallery = [.. ReportBuilder.Gallery(gallery, run.Data, run.Model)],
        };
    }

    private static ReportRow[] Rows(List<ModelRow> rows) =>
        [.. rows.Select(r => ReportBuilder.Row(r.Name, r.Evaluation, r.Name == Pruned))];

    private static string Subtitle(EvaluationRun run) =>
        $"{run.Data.Name}, {run.Data.Count} test images · {run.Model.Description} · "
        + (run.Model.Dataset is { } learnt && learnt != run.Data.Name ? $"trained on {learnt} · " : "") + CompressReport.Machine;
}
