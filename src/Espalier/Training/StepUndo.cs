using Espalier.Data;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>
/// Takes back a step that was stopped in between, so that the run is what it was after the step before: the state that is saved then
/// goes on bit for bit like a run that was never stopped.
/// </summary>
internal sealed class StepUndo : IDisposable
{
    private readonly ITrainingTask task;
    private readonly DataLoader loader;
    private readonly LoaderPosition position;
    private readonly Action? ofTask;
    private readonly (Tensor Statistic, float[] Before)[] statistics = [];
    private bool done;

    public StepUndo(ITrainingTask task, DataLoader loader)
    {
        (this.task, this.loader, position) = (task, loader, loader.Position);
        ofTask = task.BeforeStep();
        if (!IsPossible) return;
        statistics = [.. RunningStatistics.Of(task.Graph).Select(s => (s, s.ToArray()))];
    }

    /// <summary>False where the task cannot take back a part of a step, which then has to end first.</summary>
    public bool IsPossible => ofTask is not null;

    /// <summary>The step is whole.</summary>
    public void Done() => done = true;

    public void Dispose()
    {
        if (done || !IsPossible) return;
        foreach (var (statistic, before) in statistics) before.CopyTo(statistic.Span);
        foreach (var (_, parameter) in task.Graph.Parameters) parameter.ClearGrad();
        loader.Position = position;
        ofTask!();
    }
}
