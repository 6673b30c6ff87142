using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>How long steps take, for plans.</summary>
internal sealed class StepClock : ITrainingProgress
{
    private readonly List<TimeSpan> steps = [];

    /// <summary>Of all steps together.</summary>
    public TimeSpan Total => TimeSpan.FromTicks(steps.Sum(s => s.Ticks));

    /// <summary>Of one step, by the second half: in the first code is compiled. Zero where there was none.</summary>
    public TimeSpan Median => steps.Count == 0 ? TimeSpan.Zero : steps.Skip(steps.Count / 2).Order().ElementAt(steps.Count / 4);

    public void Step(StepInfo info) => steps.Add(info.Duration);

    public void Evaluating(long step, int batch, int batches) { }

    public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest) { }

    public void Message(string text) { }
}
