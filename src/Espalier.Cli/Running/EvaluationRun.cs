using Espalier.Cli.Display;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;

namespace Espalier.Cli.Running;

/// <summary>Runs images through a model while a bar shows how far it is.</summary>
/// <param name="Data">What is evaluated on.</param>
internal sealed record EvaluationRun(CommandContext Context, Session Model, IImageDataset Data, int BatchSize)
{
    /// <summary>The thresholds of the trade-off curve.</summary>
    public static IReadOnlyList<float> CurveThresholds { get; } = [0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.8f, 0.9f];

    private const double SmallBatch = 2e9;

    /// <param name="prune">False to keep every token.</param>
    /// <param name="each">Called for every image, in order.</param>
    public ModelEvaluation Run(string what, bool prune, Action<ImageResult>? each = null) => Run(what, Rule(prune), each);

    /// <summary>What the agents drop in such a pass.</summary>
    public Pruning Rule(bool prune) => prune ? Model.Pruning : Pruning.None;

    /// <summary>The pruned model at several thresholds, its own among them.</summary>
    public IReadOnlyList<(double Threshold, ModelEvaluation Evaluation)> Curve()
    {
        float[] own = Model.Pruning.ThresholdOfAll is { } threshold ? [threshold] : [];
        return [.. CurveThresholds.Union(own).Order().Select(t =>
            (Math.Round(t, 3), Run($"threshold {Format.Number(t, "0.0##")}", Pruning.Threshold(t), null)))];
    }

    private ModelEvaluation Run(string what, Pruning pruning, Action<ImageResult>? each)
    {
        using var loader = new DataLoader(Data, ImagePipeline.Eval(Model.Preprocessing), BatchSize);
        WarmUp(loader, pruning);
        return Watch.Run(Context.Terminal, what, Data.Count, report =>
        {
            var evaluator = new Evaluator(Model, pruning);
            int done = 0;
            foreach (Batch batch in loader.Once())
            {
                Context.Cancel.ThrowIfCancellationRequested();
                evaluator.Run(batch, each);
                report(done += batch.Count);
                batch.Recycle();
            }
            return evaluator.Mean;
        });
    }

    /// <summary>Lets a small model's code be compiled before it is timed; a large one does not notice.</summary>
    private void WarmUp(DataLoader loader, Pruning pruning)
    {
        if (Model.DenseMultiplyAdds * BatchSize > SmallBatch) return;
        var evaluator = new Evaluator(Model, pruning);
        foreach (Batch batch in loader.Once().Take(4)) evaluator.Run(batch);
    }
}
