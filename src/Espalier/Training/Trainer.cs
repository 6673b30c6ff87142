namespace Espalier.Training;

/// <summary>How a run ended.</summary>
/// <param name="Step">The last step that was done, in this process or before.</param>
/// <param name="Completed">False where it was cancelled; a later run with Resume goes on from there.</param>
/// <param name="Best">The best value of each selection over all evaluations.</param>
/// <param name="Evaluation">The last evaluation of this process; null where there was none.</param>
public sealed record TrainResult(long Step, bool Completed, IReadOnlyDictionary<string, double> Best,
    EvaluationResult? Evaluation);

/// <summary>
/// Trains a model by a task: batches, schedule, clipping, optimiser, evaluation, checkpoints, logs. A run that was stopped
/// and resumed, with as many threads, ends with the same weights, bit for bit, as one that was not.
/// </summary>
public sealed class Trainer
{
    private readonly ITrainingTask task;
    private readonly TrainingData data;
    private readonly TrainOptions options;

    /// <summary>Is called once the run's folder is this process's and the state to resume has taken the options: from then on nothing
    /// is refused that was asked for.</summary>
    public Action? Begun { get; init; }

    /// <exception cref="EspalierException">
    /// An option is out of its range, or the training set has less than one batch.
    /// </exception>
    public Trainer(ITrainingTask task, TrainingData data, TrainOptions options)
    {
        options.Validate();
        if (data.Train.Count < options.BatchSize)
            throw new EspalierException($"{data.Train.Name}: {data.Train.Count} images do not fill one batch of "
                + $"{options.BatchSize}; choose a smaller BatchSize.");
        if (data.Evaluation.Count == 0)
            throw new EspalierException($"{data.Evaluation.Name}: there are no images to evaluate on.");
        (this.task, this.data, this.options) = (task, data, options);
    }

    /// <summary>
    /// Trains on the calling thread to the last step, or until <paramref name="cancel"/>, which lets the step end, saves the
    /// state and returns. After a completed run the model holds what NAME.safetensors does.
    /// </summary>
    /// <exception cref="EspalierException">
    /// A loss or gradient is not finite, a file cannot be read or written, or the state to resume is of another run.
    /// </exception>
    public TrainResult Run(ITrainingProgress? progress = null, CancellationToken cancel = default)
    {
        using var session = new TrainingSession(task, data, options, progress ?? NullProgress.Instance, cancel);
        return session.Run(Begun);
    }
}
