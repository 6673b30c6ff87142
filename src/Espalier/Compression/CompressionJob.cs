using Espalier.Data;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression;

/// <summary>
/// A model on its way to a smaller one, and what methods need for it: data, training, the dependency graph, removal with its
/// check. Plumbing only; what is removed is the method's business.
/// </summary>
/// <param name="net">The model; it becomes smaller.</param>
/// <param name="data">Training images, for ranking and fine-tuning, and images to evaluate on.</param>
public sealed class CompressionJob(ImageClassifier net, TrainingData data, CompressionOptions options,
    ITrainingProgress? progress = null, CancellationToken cancel = default)
{
    private readonly List<RemovalReport> removals = [];
    private int stages;

    public ImageClassifier Net => net;

    public CompressionOptions Options => options;

    /// <summary>What was removed so far, in order.</summary>
    public IReadOnlyList<RemovalReport> Removals => removals;

    /// <summary>What was removed last; for plan files.</summary>
    public RemovalPlan? LastPlan { get; private set; }

    /// <summary>A line for the user.</summary>
    public void Log(string line) => progress?.Message(line);

    /// <summary>The dependency graph of the model as it is now, on the first images of the evaluation set.</summary>
    public DependencyGraph Graph()
    {
        using var scope = new Scope();
        return DependencyGraph.Build(net, net.Forward, Example(4));
    }

    /// <summary>The first images to evaluate on: [count, C, S, S].</summary>
    public Tensor Example(int count)
    {
        int size = net.Channels * net.ImageSize * net.ImageSize;
        count = Math.Min(count, data.Evaluation.Count);
        var images = new Tensor(new Shape(count, net.Channels, net.ImageSize, net.ImageSize));
        var rng = new Rng(options.Seed);
        for (int i = 0; i < count; i++)
            data.EvaluationPipeline.Run(data.Evaluation.ReadImage(i), ref rng, images.Span.Slice(i * size, size));
        return images;
    }

    /// <summary>
    /// Training images without augmentation, in an order that depends on the seed: <see cref="CompressionOptions.RankBatches"/>
    /// batches, tensors of each freed when the next is asked for.
    /// </summary>
    public IEnumerable<Batch> RankingBatches()
    {
        using var loader = new DataLoader(data.Train, data.EvaluationPipeline, options.Training.BatchSize, shuffle: true,
            seed: options.Seed);
        foreach (Batch batch in loader.Once().Take(options.RankBatches))
        {
            cancel.ThrowIfCancellationRequested();
            using (new Scope()) yield return batch;
            batch.Recycle();
        }
    }

    /// <summary>Chooses channels by the options' selection; a latency target is measured with one image at a time.</summary>
    public RemovalPlan Select(DependencyGraph graph, ChannelScores scores, SelectionOptions selection)
    {
        using var scope = new Scope();
        Tensor image = Example(1);
        return ChannelSelector.Choose(graph, scores, selection, plan => Latency.Of(net, graph, plan, image));
    }

    /// <summary>Cuts, checks against the masked network, and says so.</summary>
    public RemovalReport Remove(DependencyGraph graph, RemovalPlan plan, RemovalOptions? how = null)
    {
        RemovalReport report = Removal.Apply(graph, plan, how ?? new RemovalOptions(options.MoveConstants));
        removals.Add(report);
        LastPlan = plan;
        PlanSummary s = report.Summary;
        Log(FormattableString.Invariant($"removed {plan.Count} channels of {s.Groups.Count} layers: ")
            + FormattableString.Invariant($"parameters {s.ParametersBefore} -> {s.ParametersAfter}, ")
            + FormattableString.Invariant($"multiply-adds {s.MultiplyAddsBefore} -> {s.MultiplyAddsAfter}; ")
            + FormattableString.Invariant($"differs from the masked network by {report.Difference:0.0e+0}"));
        foreach (string note in report.Notes) Log(note);
        return report;
    }

    /// <summary>Trains for some steps; nothing happens for 0.</summary>
    /// <param name="stage">What this training is, for the progress line and the log.</param>
    /// <param name="hooks">What the method adds.</param>
    public void Train(string stage, long steps, params ITrainingHook[] hooks)
    {
        if (steps <= 0) return;
        TrainOptions training = options.Training with { Steps = steps, Name = stage, EvalEvery = 0, CheckpointEvery = 0,
            OutputDir = null, Seed = options.Seed + (ulong)stages++ };
        var task = new ClassifierTask(net, options.Task with { Hooks = [.. options.Task.Hooks, .. hooks] });
        TrainResult result = new Trainer(task, data, training).Run(progress, cancel);
        cancel.ThrowIfCancellationRequested();
        if (result.Evaluation is { } e)
            Log(FormattableString.Invariant($"{stage}: {steps} steps, accuracy {e.Scalars["accuracy"]:0.00%}"));
    }

    /// <summary>Accuracy and loss on the evaluation images.</summary>
    public EvaluationResult Evaluate()
    {
        using var loader = new DataLoader(data.Evaluation, data.EvaluationPipeline, options.Training.EvalBatchSize);
        return new ClassifierTask(net, new ClassifierTaskOptions()).Evaluate(Scoped(loader.Once()));
    }

    private IEnumerable<Batch> Scoped(IEnumerable<Batch> batches)
    {
        foreach (Batch batch in batches)
        {
            cancel.ThrowIfCancellationRequested();
            using (new Scope()) yield return batch;
            batch.Recycle();
        }
    }
}
