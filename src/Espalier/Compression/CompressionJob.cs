using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Espalier.Data;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression;

/// <summary>
/// A model on its way to a smaller one, and what methods need for it: data, training, the dependency graph, removal with its
/// check. Plumbing only; what is removed is the method's business.
/// </summary>
/// <param name="model">Any network; it becomes smaller, and stays the caller's.</param>
/// <param name="data">Training images, for ranking and fine-tuning, and images to evaluate on.</param>
/// <param name="options">A <see cref="CompressionMethod"/>, or the options of a job that only trains.</param>
public sealed class CompressionJob(Model model, TrainingData data, CompressionOptions options,
    ITrainingProgress? progress = null, CancellationToken cancel = default)
{
    /// <summary>Among the <see cref="Findings"/>, for each removal: the largest difference of an output between the masked network and
    /// the smaller one.</summary>
    public const string MaskedDifference = "difference from the masked network";

    private readonly List<RemovalReport> removals = [];
    private readonly List<SelectionRecord> selections = [];
    private readonly List<StageRecord> stages = [];
    private readonly List<(string, double)> findings = [];
    private readonly List<IReadOnlyList<RecoveredLayer>> recoveries = [];
    private double? firstWork;
    private readonly TimedSelection timed = new(line => progress?.Message(line), cancel);
    private (string Weights, EvaluationResult Result)? evaluated;

    /// <summary>The network, whose graph methods read and edit, and its card.</summary>
    public Model Model => model;

    public CompressionOptions Options => options;

    public TrainingData Data => data;

    /// <summary>Label smoothing, mixing and the teacher of the training that follows; at first those of the options.</summary>
    public ClassifierTaskOptions Task { get; set; } = options.Task;

    /// <summary>What was removed so far, in order.</summary>
    public IReadOnlyList<RemovalReport> Removals => removals;

    /// <summary>Every choice of channels by scores, in order; methods that choose in another way have none.</summary>
    public IReadOnlyList<SelectionRecord> Selections => selections;

    /// <summary>The layers that were fitted after each removal, where <see cref="CompressionOptions.Recover"/> says so.</summary>
    public IReadOnlyList<IReadOnlyList<RecoveredLayer>> Recoveries => recoveries;

    /// <summary>Every training, in order.</summary>
    public IReadOnlyList<StageRecord> Stages => stages;

    /// <summary>What was removed last; for plan files.</summary>
    public RemovalPlan? LastPlan { get; private set; }

    /// <summary>Whether the method can begin, as far as that is known before it does: to be asked before a long training.</summary>
    /// <exception cref="EspalierException">An option is out of its range, or the method does not go with this model.</exception>
    public void Check()
    {
        CompressionMethod method = Method;
        method.Check();
        CompressionOrder.Check(method, model.Graph);
        UntrainedParameters.Check(model.Graph, options.Training.TrainOnly);
    }

    /// <summary>Makes the model smaller by the method that the job was made with.</summary>
    /// <exception cref="EspalierException">An option is out of its range, the method has nothing to work on in this model, or the
    /// target cannot be reached.</exception>
    public void Run()
    {
        Check();
        CompressionMethod method = Method;
        method.Run(this);
        if (removals.Count == 0) return;
        double left = (double)removals[^1].Summary.MultiplyAddsAfter / removals[0].Summary.MultiplyAddsBefore;
        model.Card = model.Card.With(FormattableString.Invariant($"{method.Name}: {left:0.0%} of the multiply-adds left"));
    }

    private CompressionMethod Method => options as CompressionMethod
        ?? throw new InvalidOperationException("the job was made without a method; make it with one of CompressionMethods");

    /// <summary>Numbers that the method found out on its way, in the order in which it did.</summary>
    public IReadOnlyList<(string Name, double Value)> Findings => findings;

    internal void Find(string name, double value) => findings.Add((name, value));

    /// <summary>A line for the user.</summary>
    public void Log(string line) => progress?.Message(line);

    /// <summary>The dependency graph of the model as it is now, on the first images of the evaluation set.</summary>
    /// <param name="views">What of attention's heads is a channel; what <see cref="SelectionOptions.Groups"/> ask for where nothing
    /// is said.</param>
    public DependencyGraph Graph(params IReadOnlyList<HeadView> views)
    {
        using var scope = new Scope();
        if (options.Recover is not null) Recovery.AddBiases(model.Graph);
        return DependencyGraph.Build(model.Graph, Example(4), views.Count > 0 ? views : options.Selection.Views);
    }

    /// <summary>The share of the first graph's multiply-adds that this one has.</summary>
    internal double WorkLeft(DependencyGraph graph)
    {
        double now = graph.MultiplyAdds();
        firstWork ??= now;
        return now / firstWork.Value;
    }

    /// <summary>The first images to evaluate on, without those that cannot be read: [count, C, S, S].</summary>
    public Tensor Example(int count)
    {
        Image[] read = [.. Enumerable.Range(0, data.Evaluation.Count).Select(i => CalibrationImages.Read(data.Evaluation, i))
            .OfType<Image>().Take(count)];
        if (read.Length == 0) throw new EspalierException("none of the images to evaluate on can be read");
        return CalibrationImages.Batch(read, data.EvaluationPipeline);
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

    /// <summary>Names of the convolutions and linear layers that <see cref="SelectionOptions.Keep"/> leaves alone.</summary>
    /// <exception cref="EspalierException">A pattern fits none.</exception>
    internal IReadOnlySet<string> LayersLeftAlone()
    {
        string[] layers = [.. model.Graph.Nodes.Where(n => n.Op is Conv2dOp or LinearOp).Select(n => n.Name)];
        options.Selection.RequireKept(layers);
        return layers.Where(options.Selection.Keeps).ToHashSet();
    }

    /// <summary>Forgets the gradients of the model's parameters.</summary>
    internal void ClearGradients()
    {
        foreach (var (_, parameter) in model.Graph.Parameters) parameter.ClearGrad();
    }

    /// <summary>Images without labels to look at, of <see cref="CompressionOptions.Calibration"/> or else the training images; each
    /// batch [n, C, S, S] is freed when the next is asked for.</summary>
    /// <param name="count">How many images.</param>
    public IEnumerable<Tensor> CalibrationBatches(int count)
    {
        foreach (Tensor batch in CalibrationImages.Of(options.Calibration ?? data.Train, data.EvaluationPipeline, count))
        {
            cancel.ThrowIfCancellationRequested();
            yield return batch;
        }
    }

    /// <summary>Held-out images without labels, as <see cref="CalibrationBatches"/>.</summary>
    public IEnumerable<Tensor> EvaluationBatches(int count) => CalibrationImages.Of(data.Evaluation, data.EvaluationPipeline, count);

    /// <summary>The mean cross-entropy of the ranking batches, in inference; one number for each network.</summary>
    /// <param name="networks">Graphs of the job's classes; the model's own where none is given.</param>
    public double[] RankingLoss(params IReadOnlyList<Graph> networks)
    {
        Graph[] all = [.. (networks.Count > 0 ? networks : [model.Graph]).Select(g => g.Prepared(training: false))];
        var sums = new double[all.Length];
        int images = 0;
        foreach (Batch batch in RankingBatches())
        {
            Tensor x = batch.ToTensor(model.Channels, model.ImageSize);
            for (int i = 0; i < sums.Length; i++)
            {
                using var scope = new Scope();
                sums[i] += F.CrossEntropy(all[i].Run(x), batch.Labels).Item() * batch.Count;
            }
            images += batch.Count;
        }
        return [.. sums.Select(s => s / Math.Max(1, images))];
    }

    /// <summary>Chooses channels by the options' selection; for a target of time by the table of this machine's times.</summary>
    /// <param name="orNone">Whether the plan may be empty: true for rounds after the first, whose share of the target may be less
    /// than one channel, and which find a latency or threshold reached already.</param>
    public RemovalPlan Select(DependencyGraph graph, ChannelScores scores, SelectionOptions selection, bool orNone = false)
    {
        using var scope = new Scope();
        foreach (var (group, worth) in selection.UnequalHeads ? scores.Groups.ToArray() : [])
            if (group.Kind is ChannelKind.QueryKey or ChannelKind.Value && scores.Staying(group) == 0)
                scores.Set(group, worth, graph.OneOfEachHead(group, worth));
        RemovalPlan plan = Kept(selection, () => selection.IsTimed
            ? timed.Choose(graph, scores, selection, orNone)
            : ChannelSelector.Choose(graph, scores, selection, null, orNone));
        selections.Add(new SelectionRecord([.. scores.Groups.Select(s => new ScoredGroup(s.Key.Name,
            [.. s.Value.Select(x => (float)x)], plan.Channels.GetValueOrDefault(s.Key.Name, [])))]));
        if (plan.Count == 0) Log("nothing is left to remove in this round");
        else LogRounding(graph, scores, selection, plan);
        return plan;
    }

    /// <summary>What rounded widths gave or took.</summary>
    private void LogRounding(DependencyGraph graph, ChannelScores scores, SelectionOptions selection, RemovalPlan plan)
    {
        if (selection.Multiple == 1 || selection.IsTimed) return;
        RemovalPlan free = ChannelSelector.Choose(graph, scores, selection with { RoundTo = 1 }, null, orNone: true);
        if (free.Channels.All(c => plan.Channels.TryGetValue(c.Key, out int[]? gone) && gone.Length == c.Value.Length)) return;
        double all = graph.MultiplyAdds();
        Log(FormattableString.Invariant($"widths are multiples of {selection.Multiple}: {graph.MultiplyAdds(plan) / all:0.0%} of the ")
            + FormattableString.Invariant($"multiply-adds are left, {graph.MultiplyAdds(free) / all:0.0%} without rounding"));
    }

    /// <summary>The same selection with milliseconds in the place of a share of the time, for what times networks itself.</summary>
    internal SelectionOptions InMilliseconds(SelectionOptions selection)
    {
        if (selection.TargetTime is not { } share) return selection;
        using var scope = new Scope();
        return selection with { TargetTime = null, TargetLatency = share * Latency.Of(model.Graph, Example(selection.TimeBatch)) };
    }

    /// <summary>Times differ from run to run: what was chosen by them before an interruption stays chosen.</summary>
    private RemovalPlan Kept(SelectionOptions selection, Func<RemovalPlan> choose)
    {
        if (options.Training.OutputDir is not { } folder || !selection.IsTimed) return choose();
        string path = Path.Combine(folder, $"{selections.Count + 1}-plan-{Asked(selection)}.json");
        string whole = Path.Combine(folder, FormattableString.Invariant($"whole-of-{selection.TimeBatch}.ms"));
        if (options.Training.Resume && File.Exists(path))
        {
            if (File.Exists(whole) && double.TryParse(File.ReadAllText(whole), CultureInfo.InvariantCulture, out double milliseconds))
                timed.Whole = milliseconds;
            return RemovalPlan.Load(path);
        }
        RemovalPlan plan = choose();
        Directory.CreateDirectory(folder);
        if (timed.Whole is { } now) AtomicFile.WriteText(whole, now.ToString("R", CultureInfo.InvariantCulture));
        plan.Save(path);
        return plan;
    }

    /// <summary>A short name for what was asked for: a run that asks for something else takes nothing that was chosen for this.</summary>
    /// <param name="more">What else was said.</param>
    internal static string Asked(SelectionOptions selection, string more = "") => Convert.ToHexStringLower(
        SHA256.HashData(Encoding.UTF8.GetBytes($"{selection} {string.Join(',', selection.Keep)}{more}")))[..8];

    /// <summary>Whether a run that is resumed was stopped in the stage that comes next or behind it.</summary>
    internal bool HasState(string stage) => options.Training is { Resume: true, OutputDir: { } folder }
        && File.Exists(new RunFolder(folder, StageName(stage)).State);

    /// <summary>The stage's number and name, as files may be called.</summary>
    private string StageName(string stage) => FormattableString.Invariant($"{stages.Count + 1}-")
        + string.Concat(stage.Select(c => char.IsAsciiLetterOrDigit(c) ? c : '-'));

    /// <summary>Cuts, checks against the masked network, and says so.</summary>
    public RemovalReport Remove(DependencyGraph graph, RemovalPlan plan, RemovalOptions? how = null)
    {
        how ??= new RemovalOptions(options.MoveConstants);
        using RecoveredWeights? recovered = options.Recover is { } o && how.Recovered is null
            ? Recovery.Fit(graph, plan, CalibrationBatches(o.Images), o) : null;
        RemovalReport report = Removal.Apply(graph, plan, how with { Recovered = how.Recovered ?? recovered });
        LastPlan = plan;
        Removed($"{plan.Count} channels of {report.Summary.Groups.Count} layers", report);
        if (recovered is not null) LogRecovery(recovered);
        return report;
    }

    private void LogRecovery(RecoveredWeights recovered)
    {
        recoveries.Add([.. recovered.Layers]);
        Log(FormattableString.Invariant($"recovered without training: {recovered.Layers.Count} layers fitted to {recovered.Images} images; ")
            + FormattableString.Invariant($"the output is off by {recovered.OutputError:0.0%} of its variance there"));
        foreach (RecoveredLayer layer in recovered.Layers.Where(l => l.Growth > 10))
            Log(FormattableString.Invariant($"{layer.Layer}: its largest weight grew {layer.Growth:0} times; a larger ridge may be better"));
        foreach (string note in recovered.Notes) Log(note);
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
            + FromMasked(report.Difference));
        foreach (string note in report.Notes) Log(note);
    }

    /// <summary>How far the network is from the one in which what was removed is only masked, as the end of a line; kept among the
    /// <see cref="Findings"/>.</summary>
    internal string FromMasked(float difference)
    {
        if (float.IsFinite(difference)) Find(MaskedDifference, difference);
        return FormattableString.Invariant($"differs from the masked network by {difference:0.0e+0}");
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
        // The states are what a run is resumed from; a model file beside each would be written for nobody.
        Train(stage, steps, new ClassifierTask(model, how with { Save = how.Save ?? (_ => { }) }));
    }

    /// <summary>As the other, by a task of the method's own.</summary>
    /// <param name="task">It trains the job's model.</param>
    public void Train(string stage, long steps, ITrainingTask task)
    {
        if (steps <= 0) return;
        TrainOptions training = options.Training with { Steps = steps, Name = StageName(stage), EvalEvery = 0,
            CheckpointEvery = options.Training.OutputDir is null ? 0 : options.Training.CheckpointEvery,
            Seed = options.Seed + (ulong)stages.Count };
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
        EvaluationResult result = new ClassifierTask(model, new ClassifierTaskOptions()).Evaluate(
            loader.Once(done => progress?.Evaluating(0, done, loader.BatchesPerEpoch), cancel));
        evaluated = (weights, result);
        return result;
    }

    /// <summary>A digest of all nodes, names and values: methods may change the network behind this job's back.</summary>
    private string Weights()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(ModelIdentity.Of(model)));
        foreach (GraphValue weight in model.Graph.ReadWeights())
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"{weight.Name} {weight.Shape}"));
            hash.AppendData(MemoryMarshal.AsBytes((ReadOnlySpan<float>)weight.Tensor.Span));
        }
        return Convert.ToHexString(hash.GetHashAndReset());
    }
}
