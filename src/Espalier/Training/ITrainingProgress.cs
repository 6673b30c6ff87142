namespace Espalier.Training;

/// <summary>What one optimiser step did.</summary>
/// <param name="Step">From 1.</param>
/// <param name="TotalSteps">Of the whole run.</param>
/// <param name="Epoch">From 0.</param>
/// <param name="LearningRate">That this step used.</param>
/// <param name="GradientNorm">
/// Before clipping, the largest where groups are clipped apart; null where there is no clipping.
/// </param>
/// <param name="Scalars">What the task returned, mean over the step's micro-batches.</param>
/// <param name="Images">Pictures in the step.</param>
/// <param name="Duration">Of the step, waiting for pictures included.</param>
public sealed record StepInfo(long Step, long TotalSteps, long Epoch, double LearningRate, double? GradientNorm,
    IReadOnlyDictionary<string, double> Scalars, int Images, TimeSpan Duration);

/// <summary>Shows a run while it goes on. Called on the thread that trains, so it should return soon.</summary>
public interface ITrainingProgress
{
    /// <summary>After every step.</summary>
    void Step(StepInfo info);

    /// <summary>During an evaluation, after each of its batches.</summary>
    void Evaluating(long step, int batch, int batches);

    /// <param name="newBest">The selections that this evaluation is the best of so far.</param>
    void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest);

    /// <summary>One line for the user.</summary>
    void Message(string text);
}

/// <summary>Shows nothing.</summary>
public sealed class NullProgress : ITrainingProgress
{
    public static NullProgress Instance { get; } = new();

    public void Step(StepInfo info) { }

    public void Evaluating(long step, int batch, int batches) { }

    public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest) { }

    public void Message(string text) { }
}
