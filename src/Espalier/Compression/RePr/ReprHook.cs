using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression;

/// <summary>Drops and restores filters while a network trains, at the beginnings of the steps that the schedule names.</summary>
/// <param name="choose">The filters of a drop; the argument is whether it is the last one.</param>
/// <param name="probe">Watches what restored filters do.</param>
internal sealed class ReprHook(ReprOptions options, Func<bool, IReadOnlyList<(ChannelGroup Group, int[] Channels)>> choose,
    ReprProbe probe, ulong seed) : ITrainingHook
{
    private readonly OrthogonalFilters filters = new(options.Clip, options.Relax);
    private readonly HashSet<long> drops = [.. options.Schedule.Drops], restores = [.. options.Schedule.Restores];

    /// <summary>What is away at the moment.</summary>
    public DroppedFilters? Dropped { get; private set; }

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity => options.Identity;

    /// <summary>What is away would be lost.</summary>
    public bool HasState => true;

    /// <inheritdoc/>
    public void BeforeForward(in StepContext context)
    {
        if (context.MicroBatch > 0) return;
        long done = context.Step - 1;
        if (restores.Contains(done)) Restore(done, context.Optimizer);
        if (drops.Contains(done)) Drop(done, context.Optimizer);
    }

    /// <inheritdoc/>
    public void AfterBackward(in StepContext context)
    {
        Dropped?.ClearGradients();
        if (Dropped is null && context.MicroBatch == context.MicroBatches - 1) probe.LookAtGradients();
    }

    /// <inheritdoc/>
    public void AfterStep(long step) => Dropped?.Hold();

    private void Drop(long done, Optimizer? optimizer)
    {
        IReadOnlyList<(ChannelGroup, int[])> going = choose(done == options.Schedule.Drops[^1]);
        probe.Report(done, going);
        Dropped = new DroppedFilters(going, optimizer);
    }

    private void Restore(long done, Optimizer? optimizer)
    {
        if (Dropped is null) return;
        var rng = new Rng(seed, key0: 0x52_65_50_72, key1: (ulong)done);
        Dropped.Restore(filters, options.ZeroReaders, ref rng, optimizer);
        probe.Watch(Dropped);
        Dropped = null;
    }
}
