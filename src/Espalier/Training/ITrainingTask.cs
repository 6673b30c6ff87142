using Espalier.Data;
using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>
/// What is trained, and how one batch becomes gradients: plain classification, token pruning, distillation. The
/// <see cref="Trainer"/> does the rest. Everything a task keeps from step to step, beyond the model's weights, goes
/// through <see cref="SaveState"/> and <see cref="LoadState"/>, so that a resumed run ends like an uninterrupted one.
/// </summary>
public interface ITrainingTask
{
    /// <summary>Its parameters are trained; all its weights are kept in the training state, by name.</summary>
    Graph Graph { get; }

    /// <summary>Called once, at the beginning of a run.</summary>
    IReadOnlyList<ParameterGroup> ParameterGroups => ParameterGroup.Of(Graph);

    /// <summary>
    /// What of the task's own options and of the model's shape decides which weights come out: a run goes on only with the same.
    /// Names that the state does not have, of options that are younger than it, are passed over.
    /// </summary>
    IReadOnlyList<(string Name, string Value)> Identity => [];

    /// <summary>
    /// Whether <see cref="Step"/> can do without gradients of parameters that <see cref="TrainOptions.TrainOnly"/> leaves out,
    /// which saves their part of the backward pass. Not where one of several losses may then reach nothing that is trained.
    /// </summary>
    bool SkipsUntrained => false;

    /// <summary>
    /// Forward and backward of one micro-batch, run as <see cref="StepContext.Run"/> says. Adds to the gradients, with each loss
    /// times <see cref="StepContext.GradientScale"/>. Tensors made here are freed when it returns.
    /// </summary>
    /// <returns>
    /// Scalars to log, not scaled. Those whose name contains "loss" must be finite: the run stops where one is not.
    /// </returns>
    IReadOnlyDictionary<string, double> Step(Batch batch, in StepContext context);

    /// <summary>
    /// Whether <see cref="Step"/> runs backward once, so that a parameter's gradient is whole as soon as that pass has gone by and can
    /// travel to other ranks while it goes on.
    /// </summary>
    bool RunsBackwardOnce => false;

    /// <summary>
    /// Numbers of the task that follow what it has seen. Ranks see different images; after each step all of them get the means. Always
    /// as many, in one order.
    /// </summary>
    double[] Seen
    {
        get => [];
        set { }
    }

    /// <summary>
    /// Called before each step. What it returns takes back all that the step will have changed of the task, beside gradients and
    /// running statistics, so that the step may be stopped anywhere in between; null where that cannot be: such a step goes to its
    /// end first.
    /// </summary>
    Action? BeforeStep() => null;

    /// <summary>After the optimiser's step, for controllers.</summary>
    /// <param name="step">The step that was done, from 1.</param>
    void AfterStep(long step) { }

    /// <summary>Goes through the evaluation set.</summary>
    /// <param name="batches">
    /// One pass. Tensors made while looking at a batch are freed when the next one is asked for, and so is the batch.
    /// </param>
    EvaluationResult Evaluate(IEnumerable<Batch> batches);

    /// <summary>Adds the task's own state to a checkpoint.</summary>
    void SaveState(StateWriter state) { }

    /// <summary>Takes back what <see cref="SaveState"/> added.</summary>
    void LoadState(StateReader state) { }

    /// <summary>Writes the model as a file that loading needs nothing else for, replacing the file atomically.</summary>
    void SaveModel(string path);
}

/// <summary>Where in a run a micro-batch stands.</summary>
/// <param name="Step">The optimiser step that it belongs to, from 1.</param>
/// <param name="TotalSteps">Of the whole run.</param>
/// <param name="Epoch">The epoch that it is from, from 0.</param>
/// <param name="MicroBatch">Its number within the step, from 0.</param>
/// <param name="MicroBatches">Micro-batches a step.</param>
/// <param name="Rng">Random numbers for this micro-batch; depends on the run's seed and the place only.</param>
public readonly record struct StepContext(long Step, long TotalSteps, long Epoch, int MicroBatch, int MicroBatches, Rng Rng)
{
    /// <summary>
    /// What losses (means over their micro-batch) are multiplied with, so that the step sees the mean over the batch.
    /// </summary>
    public float GradientScale => 1f / MicroBatches;

    /// <summary>The first micro-batch of the step that this process computes: its rank, where several share a step.</summary>
    public int FirstMicroBatch { get; init; }

    /// <summary>Whether what a method does once a step is due now.</summary>
    public bool BeginsStep => MicroBatch == FirstMicroBatch;

    /// <summary>Random numbers for the step: the same for its micro-batches and in all processes, those of micro-batch 0.</summary>
    public Rng StepRng { get => stepRng ?? Rng; init => stepRng = value; }

    private readonly Rng? stepRng;

    /// <summary>How the graph is run in training: which batch norms stay still.</summary>
    public RunContext Run { get; init; } = new(Training: true);

    /// <summary>What updates the parameters, for methods that replace weights; null where nothing does.</summary>
    public Optimizer? Optimizer { get; init; }
}

/// <summary>What an evaluation found.</summary>
/// <param name="Scalars">Everything to log.</param>
/// <param name="Selections">
/// By what the best checkpoints are chosen, higher is better: each name keeps a best checkpoint of its own. Names are made of
/// lower-case letters, digits and hyphens, and the same in every evaluation of a run.
/// </param>
public sealed record EvaluationResult(IReadOnlyDictionary<string, double> Scalars,
    IReadOnlyDictionary<string, double> Selections);
