using Espalier.Training;

namespace Espalier.Compression;

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
