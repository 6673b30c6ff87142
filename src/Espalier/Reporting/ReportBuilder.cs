using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Training;

namespace Espalier.Reporting;

/// <summary>Turns evaluations and histories into the parts of a report.</summary>
public static class ReportBuilder
{
    private const int GalleryItems = 12;

    /// <summary>How a scalar of the history is shown: which chart, which line, and whether it is a share.</summary>
    private static readonly (string Key, string Panel, string Line, ValueFormat Format)[] Known =
    [
        ("loss", "Training loss", "loss", ValueFormat.Number),
        ("plain_loss", "Training loss", "unpruned pass", ValueFormat.Number),
        ("eval/accuracy", "Accuracy", "accuracy", ValueFormat.Percent),
        ("eval/accuracy_unpruned", "Accuracy", "unpruned pass", ValueFormat.Percent),
        ("compute", "Share of the multiply-adds", "", ValueFormat.Percent),
    ];

    public static ReportRow Row(string name, ModelEvaluation e, bool highlight = false) =>
        new(name, e.Accuracy, e.Loss, e.MultiplyAdds, e.ImagesPerSecond, e.Tokens.Length > 0 ? e.Tokens : null, highlight);

    public static IEnumerable<TradeOffPoint> TradeOff(IEnumerable<(double Threshold, ModelEvaluation Evaluation)> curve,
        double dense) =>
        curve.Select(p => new TradeOffPoint(p.Threshold, p.Evaluation.Accuracy, p.Evaluation.MultiplyAdds / dense));

    /// <summary>The curves of a run's history.</summary>
    /// <param name="layers">Layers of its agents; empty for a plain model.</param>
    public static IEnumerable<Curve> Curves(string run, IReadOnlyList<HistoryPoint> history, IReadOnlyList<int> layers)
    {
        foreach (var (key, panel, line, format) in Known)
        {
            string name = line.Length == 0 || layers.Count == 0 ? run : line is "loss" or "accuracy" ? $"{run}, pruned pass"
                : $"{run}, {line}";
            if (Points(history, key) is { Count: > 0 } points) yield return new Curve(name, panel, points, format);
        }
        for (int i = 0; i < layers.Count; i++)
        {
            if (Points(history, $"tokens/{i + 1}") is { Count: > 0 } points)
                yield return new Curve($"after layer {layers[i]}", "Tokens left", points);
        }
        for (int i = 0; i < layers.Count; i++)
        {
            if (Points(history, $"agent_loss/{i}") is { Count: > 0 } points)
                yield return new Curve($"after layer {layers[i]}", "Agents' loss", points);
        }
    }

    public static IEnumerable<TokenHistogram> Histograms(TokenCounts counts, IReadOnlyList<int> layers) =>
        layers.Select((layer, i) => new TokenHistogram($"after layer {layer}", counts.Of(i + 1), counts.Most(0)));

    /// <summary>What the model saw of the pictures of these results, with what each agent left.</summary>
    public static IEnumerable<GalleryItem> Gallery(IEnumerable<ImageResult> results, IImageDataset data,
        Session model)
    {
        foreach (ImageResult r in results.Where(r => r.Kept is not null || model.AgentLayers.Count == 0))
        {
            TokenStage[] stages = [.. model.AgentLayers.Select((layer, i) => new TokenStage($"after layer {layer}", r.Kept![i + 1]))];
            yield return new GalleryItem(ImagePipeline.Seen(model.Preprocessing, data.ReadImage(r.Index)), model.TokenGrid, stages,
                Name(data, r.Label), Name(data, r.Prediction), model.PrefixTokens);
        }
    }

    /// <summary>Collects the first image of each class, as far as the gallery has room.</summary>
    public static Action<ImageResult> FirstOfEachClass(List<ImageResult> into) => result =>
    {
        if (into.Count < GalleryItems && into.TrueForAll(r => r.Label != result.Label)) into.Add(result);
    };

    /// <summary>Collects the first image of each class that was recognised, and the first that was taken for another.</summary>
    public static Action<ImageResult> FirstRightAndWrong(List<ImageResult> into) => result =>
    {
        bool right = result.Label == result.Prediction;
        List<ImageResult> alike = into.FindAll(r => (r.Label == r.Prediction) == right);
        if (alike.Count < GalleryItems / 2 && alike.TrueForAll(r => r.Label != result.Label)) into.Add(result);
    };

    /// <summary>Which class was taken for which, under the model's names or the data's.</summary>
    public static Confusion Confusion(ClassCounts counts, Session model, IImageDataset data) =>
        new([.. Enumerable.Range(0, model.NumClasses).Select(c => model.ClassNames?[c] ?? Name(data, c))], counts);

    private static List<CurvePoint> Points(IReadOnlyList<HistoryPoint> history, string key) =>
        [.. history.Where(p => p.Values.ContainsKey(key)).Select(p => new CurvePoint(p.Step, p.Values[key]))];

    private static string Name(IImageDataset data, int c) => c < data.ClassNames.Count ? data.ClassNames[c] : $"class {c}";
}
