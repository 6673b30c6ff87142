using System.Diagnostics;
using System.Globalization;
using Espalier.Data;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Training;

/// <summary>One call of <see cref="Trainer.Run"/>: everything that lives as long as it does, and the loop.</summary>
internal sealed partial class TrainingSession : IDisposable
{
    // Keeps the steps' random numbers apart from the loader's, which has the same seed and similar keys.
    private const ulong StepStream = 0x73_74_65_70_73;

    private readonly ITrainingTask task;
    private readonly TrainOptions options;
    private readonly ITrainingProgress progress;
    private readonly CancellationToken cancel;
    private readonly TrainingRanks? ranks;
    private readonly string dataset, pipeline, groups;
    private readonly ISchedule schedule;
    private readonly Optimizer optimizer;
    private readonly Tensor[] all;
    private readonly Ema? ema;
    private readonly DataLoader loader, evaluation;
    private readonly RunFolder? folder;
    private readonly ScalarMeans window = new();
    private readonly OrderedDictionary<string, double> best = [];
    private UntrainedParameters untrained;
    private IDisposable? runLock;
    private TrainingHistory? history;
    private EvaluationResult? lastEvaluation;
    private long step, evaluated, saved = -1;

    /// <summary>Whether model, optimiser and task are as they were after a step, and not in the middle of one.</summary>
    private bool whole = true;

    public TrainingSession(ITrainingTask task, TrainingData data, TrainOptions options, ITrainingProgress progress,
        CancellationToken cancel)
    {
        (this.task, this.options, this.cancel) = (task, options, cancel);
        ranks = options.Ranks is { } others ? new TrainingRanks(others, task) : null;
        this.progress = options.Writes ? progress : NullProgress.Instance;
        dataset = $"{data.Train.Name} ({data.Train.Count} images)";
        pipeline = data.TrainPipeline.Description;
        schedule = Schedules.Parse(options.Schedule, options.Warmup, options.Milestones);
        optimizer = Optimizers.Create(options.Optimizer, task.ParameterGroups, options.Momentum, options.WeightDecay);
        all = [.. task.Graph.Parameters.Select(p => p.Value)];
        UntrainedParameters.Check(task.Graph, options.TrainOnly);
        folder = options.OutputDir is { } directory ? new RunFolder(directory, options.Name) : null;
        // As they are at the beginning: a task may change them while it trains.
        groups = string.Join("; ", optimizer.Groups.Select(g => string.Create(CultureInfo.InvariantCulture,
            $"{g.Name} {g.Parameters.Count} x{g.LearningRateScale} decay {g.WeightDecay ?? options.WeightDecay}")))
            + (options.TrainOnly.Count == 0 ? "" : $"; only {string.Join(',', options.TrainOnly)}");
        ema = options.EmaDecay is { } decay ? new Ema(Weights(), decay) : null;
        loader = new DataLoader(data.Train, data.TrainPipeline, options.MicroBatchSize, options.Shuffle, options.Seed,
            dropLast: true, options.DataThreads, prefetch: Math.Max(2, options.DataThreads),
            share: options.Ranks is { } of ? (of.Rank, of.Count) : null);
        evaluation = new DataLoader(data.Evaluation, data.EvaluationPipeline, options.EvalBatchSize,
            threads: options.DataThreads);
        // The last of all: what fails before must not leave the network held still.
        untrained = Untrained();
    }

    public TrainResult Run(Action? begun = null)
    {
        Begin();
        begun?.Invoke();
        bool completed = true;
        try
        {
            while (true)
            {
                if (evaluated < step && options.IsDue(step, options.EvalEvery))
                {
                    if (saved < step) Save();
                    Evaluate();
                }
                if (saved < step && options.IsDue(step, options.CheckpointEvery)) Save();
                if (step >= options.Steps) break;
                if (ranks is null) cancel.ThrowIfCancellationRequested();
                else if (ranks.Any(cancel.IsCancellationRequested)) throw new OperationCanceledException();
                TrainStep();
            }
            // Left in the model: what was evaluated and saved.
            ema?.Swap();
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested || ranks is not null)
        {
            completed = false;
            if (saved < step) Save();
            string rest = folder is null || step == 0 ? "." : $"; {folder.State} can be resumed.";
            progress.Message($"Stopped after step {step}{rest}");
        }
        catch (EspalierException) when (whole && saved < step)
        {
            // A picture that cannot be read, or a loss that is no number: what was trained before it can still be gone on with.
            Save();
            throw;
        }
        return new TrainResult(step, completed, best, lastEvaluation);
    }

    public void Dispose()
    {
        untrained.Dispose();
        history?.Dispose();
        loader.Dispose();
        evaluation.Dispose();
        ema?.Dispose();
        optimizer.Dispose();
        runLock?.Dispose();
    }

    private void Begin()
    {
        if (options.Writes)
        {
            runLock = folder?.Open();
            folder?.DeleteStaleTemporaries();
        }
        foreach (Tensor p in all) p.ClearGrad();
        if (folder is not null && options.Resume && File.Exists(folder.State))
        {
            Load(folder.State);
            untrained.Dispose();
            untrained = Untrained();
            progress.Message(step >= options.Steps
                ? $"{options.Name} has done its {step} steps already."
                : $"Resuming {options.Name} after step {step}.");
        }
        else if (folder is not null && options.Writes)
        {
            if (options.Resume) progress.Message($"There is no {folder.State} to resume; starting at the beginning.");
            else if (File.Exists(folder.State))
                progress.Message($"Starting again; the state and history of the earlier {options.Name} are replaced.");
            folder.DeleteState();
        }
        history = folder is null || !options.Writes ? null : new TrainingHistory(folder, step, evaluated);
        ranks?.Meet(step);
    }

    private void TrainStep()
    {
        long started = Stopwatch.GetTimestamp(), number = step + 1;
        if (step == options.FreezeSteps && step > 0)
        {
            untrained.Dispose();
            untrained = Untrained();
        }
        double rate = options.LearningRate * schedule.Multiplier(number, options.Steps);
        int parts = options.MicroBatches, stride = ranks?.Count ?? 1;
        LoaderPosition position = loader.Position;
        if (loader.BatchesPerEpoch - position.BatchInEpoch < parts)
            loader.Position = position = new LoaderPosition(position.Epoch + 1, 0);
        var means = new ScalarMeans();
        using var undo = new StepUndo(task, loader);
        whole = undo.IsPossible;
        // Ranks stop together, and so only between two steps.
        bool stops = undo.IsPossible && ranks is null;
        var run = new RunContext(Training: true, Still: untrained.Statistics)
        {
            CheckpointActivations = options.CheckpointActivations,
            SumOverRanks = options.SyncBatchNorm && ranks is { Count: > 1 } ? ranks.Sum : null,
        };
        int first = ranks?.Rank ?? 0;
        for (int part = first; part < parts; part += stride)
        {
            if (stops) cancel.ThrowIfCancellationRequested();
            Batch batch = loader.Next();
            var rng = new Rng(options.Seed ^ StepStream, (ulong)number, (ulong)part);
            var context = new StepContext(number, options.Steps, position.Epoch, part, parts, rng)
            {
                Optimizer = optimizer, Run = run,
                FirstMicroBatch = first, StepRng = new Rng(options.Seed ^ StepStream, (ulong)number, 0),
            };
            using (Interruption.By(stops ? cancel : CancellationToken.None))
            using (ProductPrecision.Of(options.Precision))
            using (GradientsWhole.By(part + stride >= parts ? ranks?.Ready : null))
            using (new Scope())
                means.Add(Finite(task.Step(batch, context), number));
            batch.Recycle();
        }
        undo.Done();
        whole = false;
        Dictionary<string, double> scalars = means.Means();
        ranks?.Finish(scalars, untrained.Statistics);
        untrained.ClearGradients();
        double? norm = Clip(number);
        optimizer.Step((float)rate);
        foreach (Tensor p in all) p.ClearGrad();
        step = number;
        task.AfterStep(step);
        ema?.Update();
        whole = true;

        window.Add("lr", rate);
        if (norm is { } known) window.Add("grad-norm", known);
        window.Add(scalars);
        if (options.IsDue(step, options.LogEvery))
        {
            history?.Write(step, window.Means());
            window.Clear();
        }
        progress.Step(new StepInfo(step, options.Steps, position.Epoch, rate, norm, scalars, options.BatchSize,
            Stopwatch.GetElapsedTime(started)));
    }

    /// <summary>What is not trained in the next step: more than in later ones while a backbone is frozen.</summary>
    private UntrainedParameters Untrained() =>
        new(task.Graph, step < options.FreezeSteps ? options.FreezeExcept : options.TrainOnly, task.SkipsUntrained);

    /// <summary>
    /// Limits the gradients, and looks at them in any case: one that is no number must reach neither weights nor checkpoint. Groups
    /// that stand still in this step are limited apart, as their gradients must not shorten the steps of those that learn.
    /// </summary>
    private double? Clip(long number)
    {
        bool limited = options.MaxGradNorm > 0;
        double most = 0;
        foreach (var part in optimizer.Groups.GroupBy(g => (Still: g.LearningRateScale == 0, Own: options.ClipGroups ? g : null)))
        {
            Tensor[] together = [.. part.SelectMany(g => g.Parameters).Select(p => p.Value)];
            double norm = limited ? GradientClip.ByGlobalNorm(together, options.MaxGradNorm) : GradientClip.Norm(together);
            if (!double.IsFinite(norm)) throw Diverged(number, "the gradient's norm", norm);
            if (!part.Key.Still) most = Math.Max(most, norm);
        }
        return limited ? most : null;
    }

    private IReadOnlyDictionary<string, double> Finite(IReadOnlyDictionary<string, double> scalars, long number)
    {
        foreach (var (name, value) in scalars)
        {
            bool isLoss = name.Contains("loss", StringComparison.OrdinalIgnoreCase);
            if (isLoss && !double.IsFinite(value)) throw Diverged(number, name, value);
        }
        return scalars;
    }

    private EspalierException Diverged(long number, string what, double value) =>
        new($"step {number}: {what} is {value}; lower the learning rate ({options.LearningRate}), "
            + (options.MaxGradNorm > 0
                ? "or warm up for longer."
                : "warm up for longer, or limit the gradients' norm (MaxGradNorm)."));

    private void Evaluate()
    {
        var newBest = new List<string>();
        EvaluationResult result;
        using (ema?.Swap())
        {
            using (new Scope()) result = task.Evaluate(evaluation.Once(
                done => progress.Evaluating(step, done, evaluation.BatchesPerEpoch), ranks is null ? cancel : default));
            foreach (var (name, value) in result.Selections)
            {
                if (double.IsNaN(value) || (best.TryGetValue(name, out double before) && value <= before)) continue;
                best[name] = value;
                newBest.Add(name);
                if (folder is not null && options.Writes)
                    untrained.Released(() => task.SaveModel(folder.Best(result.Selections.Count == 1 ? null : name)));
            }
        }
        history?.Write(step, result.Scalars.Select(s => KeyValuePair.Create(TrainingHistory.EvaluationPrefix + s.Key, s.Value)));
        (lastEvaluation, evaluated, saved) = (result, step, -1);
        progress.Evaluated(step, result, newBest);
    }
}
