using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
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
/// <param name="options">A <see cref="CompressionMethod"/>, or the options of a job that only trains.</param>
public sealed class CompressionJob(ImageClassifier net, TrainingData data, CompressionOptions options,
    ITrainingProgress? progress = null, CancellationToken cancel = default)
{
    private readonly List<RemovalReport> removals = [];
    private readonly List<SelectionRecord> selections = [];
    private readonly List<StageRecord> stages = [];
    private (string Weights, EvaluationResult Result)? evaluated;

    public ImageClassifier Net => net;

    public CompressionOptions Options => options;

    /// <summary>Label smoothing, mixing and the teacher of the training that follows; at first those of the options.</summary>
    public ClassifierTaskOptions Task { get; set; } = options.Task;

    /// <summary>What was removed so far, in order.</summary>
    public IReadOnlyList<RemovalReport> Removals => removals;

    /// <summary>Every choice of channels by scores, in order; methods that choose in another way have none.</summary>
    public IReadOnlyList<SelectionRecord> Selections => selections;

    /// <summary>Every training, in order.</summary>
    public IReadOnlyList<StageRecord> Stages => stages;

    /// <summary>What was removed last; for plan files.</summary>
    public RemovalPlan? LastPlan { get; private set; }

    /// <summary>Makes the model smaller by the method that the job was made with.</summary>
    /// <exception cref="EspalierException">An option is out of its range, the method has nothing to work on in this model, or the
    /// target cannot be reached.</exception>
    public void Run()
    {
        if (options is not CompressionMethod method)
            throw new InvalidOperationException("the job was made without a method; make it with one of CompressionMethods");
        method.Check();
        UntrainedParameters.Check(net.Trace(), options.Training.TrainOnly);
        method.Run(this);
    }

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
    /// <param name="orNone">Whether the plan may be empty: true for rounds after the first, whose share of the target may be less
    /// than one channel, and which find a latency or threshold reached already.</param>
    public RemovalPlan Select(DependencyGraph graph, ChannelScores scores, SelectionOptions selection, bool orNone = false)
    {
        using var scope = new Scope();
        Tensor image = Example(1);
        RemovalPlan plan = Kept(selection, () =>
            ChannelSelector.Choose(graph, scores, selection, tried => Latency.Of(net, graph, tried, image), orNone));
        selections.Add(new SelectionRecord([.. scores.Groups.Select(s => new ScoredGroup(s.Key.Name,
            [.. s.Value.Select(x => (float)x)], plan.Channels.GetValueOrDefault(s.Key.Name, [])))]));
        if (plan.Count == 0) Log("nothing is left to remove in this round");
        return plan;
    }

    /// <summary>Times differ from run to run: what was chosen by them before an interruption stays chosen.</summary>
    private RemovalPlan Kept(SelectionOptions selection, Func<RemovalPlan> choose)
    {
        if (options.Training.OutputDir is not { } folder || selection.TargetLatency is null) return choose();
        byte[] asked = SHA256.HashData(Encoding.UTF8.GetBytes($"{selection} {string.Join(',', selection.Keep)}"));
        string path = Path.Combine(folder, $"{selections.Count + 1}-plan-{Convert.ToHexStringLower(asked)[..8]}.json");
        if (options.Training.Resume && File.Exists(path)) return RemovalPlan.Load(path);
        RemovalPlan plan = choose();
        Directory.CreateDirectory(folder);
        plan.Save(path);
        return plan;
    }

    /// <summary>The stage's number and name, as files may be called.</summary>
    private string StageName(string stage) => FormattableString.Invariant($"{stages.Count + 1}-")
        + string.Concat(stage.Select(c => char.IsAsciiLetterOrDigit(c) ? c : '-'));

    /// <summary>Cuts, checks against the masked network, and says so.</summary>
    public RemovalReport Remove(DependencyGraph graph, RemovalPlan plan, RemovalOptions? how = null)
    {
        RemovalReport report = Removal.Apply(graph, plan, how ?? new RemovalOptions(options.MoveConstants));
        LastPlan = plan;
        Removed($"{plan.Count} channels of {report.Summary.Groups.Count} layers", report);
        return report;
    }

    /// <summary>Keeps the report of something that was removed, and says so.</summary>
    /// <param name="what">Such as "3 blocks".</param>
    public void Removed(string what, RemovalReport report)
    {
        removals.Add(report);
        PlanSummary s = report.Summary;
        Log($"removed {what}: "
            + FormattableString.Invariant($"parameters {s.ParametersBefore} -> {s.ParametersAfter}, ")
            + FormattableString.Invariant($"multiply-adds {s.MultiplyAddsBefore} -> {s.MultiplyAddsAfter}; ")
            + FormattableString.Invariant($"differs from the masked network by {report.Difference:0.0e+0}"));
        foreach (string note in report.Notes) Log(note);
    }

    /// <summary>
    /// Trains for some steps; nothing happens for 0. Where the options' training has a folder, each stage has a state there: in a
    /// run that is resumed everything is done again as it was, but a stage with a state goes on from it, be it at its end.
    /// </summary>
    /// <param name="stage">What this training is, for the progress line and the log.</param>
    /// <param name="hooks">What the method adds.</param>
    public void Train(string stage, long steps, params ITrainingHook[] hooks)
    {
        if (steps <= 0) return;
        ClassifierTaskOptions how = Task with { Hooks = [.. Task.Hooks, .. hooks] };
        // What cannot go on from a checkpoint is trained again as a whole, and comes out the same.
        string? folder = how.Hooks.Any(h => h.HasState) ? null : options.Training.OutputDir;
        TrainOptions training = options.Training with { Steps = steps, Name = StageName(stage), EvalEvery = 0, OutputDir = folder,
            CheckpointEvery = folder is null ? 0 : options.Training.CheckpointEvery, Seed = options.Seed + (ulong)stages.Count };
        var task = new ClassifierTask(net, how);
        var recorder = new StageRecorder(progress);
        TrainResult result = new Trainer(task, data, training).Run(recorder, cancel);
        stages.Add(recorder.Record(stage, result));
        cancel.ThrowIfCancellationRequested();
        if (result.Evaluation is not { } e) return;
        evaluated = (Weights(), e);
        Log(FormattableString.Invariant($"{stage}: {steps} steps, accuracy {e.Scalars["accuracy"]:0.00%}"));
    }

    /// <summary>
    /// Accuracy and loss on the evaluation images. Every training ends with an evaluation of its own: for a network that has not
    /// changed since, this is what it found.
    /// </summary>
    public EvaluationResult Evaluate()
    {
        string weights = Weights();
        if (evaluated is { } last && last.Weights == weights) return last.Result;
        using var loader = new DataLoader(data.Evaluation, data.EvaluationPipeline, options.Training.EvalBatchSize);
        EvaluationResult result = new ClassifierTask(net, new ClassifierTaskOptions()).Evaluate(Shown(loader));
        evaluated = (weights, result);
        return result;
    }

    private IEnumerable<Batch> Shown(DataLoader loader)
    {
        int done = 0;
        foreach (Batch batch in loader.Once())
        {
            cancel.ThrowIfCancellationRequested();
            using (new Scope()) yield return batch;
            batch.Recycle();
            progress?.Evaluating(0, ++done, loader.BatchesPerEpoch);
        }
    }

    /// <summary>A digest of all names and values: methods may change the network behind this job's back.</summary>
    private string Weights()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var (name, tensor) in net.StateDict())
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"{name} {tensor.Shape}"));
            hash.AppendData(MemoryMarshal.AsBytes((ReadOnlySpan<float>)tensor.Span));
        }
        return Convert.ToHexString(hash.GetHashAndReset());
    }
}
