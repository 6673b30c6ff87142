using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.RePr;

/// <summary>Drops and restores filters while a network trains, at the beginnings of the steps that the schedule names.</summary>
/// <param name="layers">All that may lose filters.</param>
/// <param name="choose">The filters of a drop; the argument is whether it is the last one.</param>
/// <param name="probe">Watches what restored filters do.</param>
internal sealed class ReprHook(RePr method, ReprSchedule schedule, IReadOnlyList<ChannelGroup> layers,
    Func<bool, IReadOnlyList<(ChannelGroup Group, int[] Channels)>> choose, ReprProbe probe) : ITrainingHook
{
    private readonly OrthogonalFilters filters = new(method.Clip, method.Relax);
    private readonly HashSet<long> drops = [.. schedule.Drops], restores = [.. schedule.Restores];

    /// <summary>What is away at the moment.</summary>
    public DroppedFilters? Dropped { get; private set; }

    /// <summary>What came back last.</summary>
    private DroppedFilters? back;

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
        [.. method.Settings.Select(s => ($"Repr/{s.Name}", s.Of(method)))];

    /// <inheritdoc/>
    public void BeforeForward(in StepContext context)
    {
        if (!context.BeginsStep) return;
        long done = context.Step - 1;
        if (restores.Contains(done)) Restore(done, context.Optimizer);
        if (drops.Contains(done)) Drop(done, context.Optimizer);
    }

    /// <inheritdoc/>
    public void AfterBackward(in StepContext context)
    {
        Dropped?.ClearGradients();
        if (Dropped is not null || context.MicroBatch < context.MicroBatches - 1) return;
        probe.LookAtGradients();
        if (method.Boost != 1) back?.ScaleGradients((float)method.Boost);
    }

    /// <inheritdoc/>
    public void AfterStep(long step) => Dropped?.Hold();

    /// <inheritdoc/>
    public void SaveState(StateWriter state)
    {
        Dropped?.Save(state);
        back?.Save(state.Section("back"));
        probe.Save(state.Section("probe"));
    }

    /// <inheritdoc/>
    public void LoadState(StateReader state)
    {
        Dropped = DroppedFilters.Load(state, layers);
        back = DroppedFilters.Load(state.Section("back"), layers);
        if (back is not null && Dropped is null && state.Section("probe").Has("count")) probe.Watch(back, state.Section("probe"));
    }

    private void Drop(long done, Optimizer? optimizer)
    {
        IReadOnlyList<(ChannelGroup, int[])> going = choose(done == schedule.Drops[^1]);
        probe.Report(done, going);
        Dropped = new DroppedFilters(going, optimizer);
        back = null;
    }

    private void Restore(long done, Optimizer? optimizer)
    {
        if (Dropped is null) return;
        var rng = new Rng(method.Seed, key0: 0x52_65_50_72, key1: (ulong)done);
        Dropped.Restore(filters, method.ZeroReaders, ref rng, optimizer);
        probe.Watch(Dropped);
        (back, Dropped) = (Dropped, null);
    }
}
