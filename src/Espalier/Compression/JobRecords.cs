using Espalier.Training;

namespace Espalier.Compression;

/// <summary>One choice of channels: what each was worth, and which were to go.</summary>
public sealed record SelectionRecord(IReadOnlyList<ScoredGroup> Groups);

/// <param name="Name">Of the <see cref="ChannelGroup"/>.</param>
/// <param name="Scores">One a channel; the least important have the smallest.</param>
/// <param name="Removed">Numbers of the channels that were chosen to go, rising.</param>
public sealed record ScoredGroup(string Name, IReadOnlyList<float> Scores, IReadOnlyList<int> Removed);

/// <summary>One training of a run.</summary>
/// <param name="Losses">Means over ten steps at a time, at the last of them.</param>
/// <param name="Accuracy">On the evaluation images, at its end; null where it was not measured.</param>
public sealed record StageRecord(string Name, long Steps, IReadOnlyList<LossPoint> Losses, double? Accuracy);

/// <param name="Step">From 1, within its stage.</param>
public readonly record struct LossPoint(long Step, double Loss);

/// <summary>Notes the losses of one training and hands everything on.</summary>
internal sealed class StageRecorder(ITrainingProgress? next) : ITrainingProgress
{
    private const int Together = 10;

    private readonly List<LossPoint> losses = [];
    private double sum;
    private int count;

    public StageRecord Record(string name, TrainResult result) =>
        new(name, result.Step, losses, result.Evaluation?.Scalars["accuracy"]);

    public void Step(StepInfo info)
    {
        (sum, count) = (sum + info.Scalars["loss"], count + 1);
        if (count == Together || info.Step == info.TotalSteps)
        {
            losses.Add(new LossPoint(info.Step, sum / count));
            (sum, count) = (0, 0);
        }
        next?.Step(info);
    }

    public void Evaluating(long step, int batch, int batches) => next?.Evaluating(step, batch, batches);

    public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest) =>
        next?.Evaluated(step, result, newBest);

    public void Message(string text) => next?.Message(text);
}
