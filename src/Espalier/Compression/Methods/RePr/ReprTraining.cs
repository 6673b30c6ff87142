using System.Globalization;
using System.Runtime.InteropServices;
using Espalier.Nn;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

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

/// <summary>
/// Filters that are away for a while. All that makes their channels (weights, biases, scales and shifts of norms) is zero, so
/// that the channels are exactly zero before the non-linearity; nothing of it is trained and running statistics stand still.
/// </summary>
internal sealed class DroppedFilters
{
    private readonly IReadOnlyList<(ChannelGroup Group, int[] Channels)> dropped;
    private readonly List<(Tensor Tensor, Range[] Elements)> silent = [];
    private readonly List<(Tensor Tensor, Range[] Elements, float[] Values)> frozen = [];
    private readonly Dictionary<Tensor, SortedDictionary<int, float[]>> old = [];

    /// <summary>Drops channels: from here on they are zero.</summary>
    /// <param name="optimizer">Forgets what it keeps for the weights that are zero now; null for none.</param>
    public DroppedFilters(IReadOnlyList<(ChannelGroup Group, int[] Channels)> dropped, Optimizer? optimizer) : this(dropped)
    {
        Hold();
        foreach (var (tensor, elements) in silent) optimizer?.Renew(tensor, elements);
    }

    /// <summary>Remembers what the channels are now.</summary>
    private DroppedFilters(IReadOnlyList<(ChannelGroup Group, int[] Channels)> dropped)
    {
        this.dropped = dropped;
        foreach (var (slice, elements, rows) in Slices())
        {
            Tensor tensor = slice.Tensor;
            if (MaskedModel.Makes(slice.Role, MaskKind.Zero)) silent.Add((tensor, elements));
            if (slice.Role is ChannelRole.RunningMean or ChannelRole.RunningVariance)
                frozen.Add((tensor, elements, [.. elements.SelectMany(e => tensor.Span[e].ToArray())]));
            if (!FilterWeights.IsFilter(slice)) continue;
            if (!old.TryGetValue(tensor, out var saved)) old.Add(tensor, saved = []);
            foreach (int row in rows) saved[row] = FilterWeights.Row(tensor, row).ToArray();
        }
    }

    /// <summary>What is away, as channels to remove.</summary>
    public RemovalPlan Plan => dropped.Aggregate(new RemovalPlan(), (plan, d) => plan.Add(d.Group, d.Channels));

    /// <summary>Keeps what is away, what it was, and what its statistics are.</summary>
    public void Save(StateWriter state)
    {
        foreach (var (group, channels) in dropped) state.Add(group.Name, Array.ConvertAll(channels, c => (long)c));
        state.Section("values").Add("away", MemoryMarshal.AsBytes<float>([.. Remembered().SelectMany(v => v)]).ToArray());
    }

    /// <summary>What <see cref="Save"/> kept; null where nothing was away.</summary>
    public static DroppedFilters? Load(StateReader state, IReadOnlyList<ChannelGroup> layers)
    {
        (ChannelGroup, int[])[] dropped = [.. layers.Where(g => state.Has(g.Name))
            .Select(g => (g, Array.ConvertAll(state.ReadLongs(g.Name), c => (int)Math.Clamp(c, 0, g.Count - 1))))];
        if (dropped.Length == 0) return null;
        var filters = new DroppedFilters(dropped);
        ReadOnlySpan<float> values = MemoryMarshal.Cast<byte, float>(state.Section("values").ReadBytes("away"));
        if (values.Length != filters.Remembered().Sum(v => v.Length))
            throw new EspalierException("the training state has other filters away than it says; delete it and start again");
        foreach (float[] to in filters.Remembered())
        {
            values[..to.Length].CopyTo(to);
            values = values[to.Length..];
        }
        return filters;
    }

    private IEnumerable<float[]> Remembered() => [.. frozen.Select(f => f.Values), .. old.Values.SelectMany(rows => rows.Values)];

    /// <summary>The dropped channels of each layer.</summary>
    public IReadOnlyList<(ChannelGroup Group, int[] Channels)> Channels => dropped;

    /// <summary>The weights that have dropped filters, and which rows those are.</summary>
    public IEnumerable<(Tensor Weight, IReadOnlyCollection<int> Rows)> Weights =>
        old.Select(o => (o.Key, (IReadOnlyCollection<int>)o.Value.Keys));

    /// <summary>Takes the gradients of what is dropped away, so that no optimiser and no clipping sees them.</summary>
    public void ClearGradients()
    {
        foreach (var (tensor, elements) in silent)
        {
            if (tensor.Grad is not { } grad) continue;
            foreach (Range range in elements) grad.Span[range].Clear();
        }
    }

    /// <summary>Multiplies the gradients of all that makes these channels.</summary>
    public void ScaleGradients(float factor)
    {
        foreach (var (tensor, elements) in silent)
        {
            if (tensor.Grad is not { } grad) continue;
            foreach (Range range in elements) TensorPrimitives.Multiply(grad.Span[range], factor, grad.Span[range]);
        }
    }

    /// <summary>Undoes whatever a step did to what is dropped.</summary>
    public void Hold()
    {
        foreach (var (tensor, elements) in silent)
            foreach (Range range in elements) tensor.Span[range].Clear();
        foreach (var (tensor, elements, values) in frozen)
        {
            int at = 0;
            foreach (Range range in elements)
            {
                Span<float> to = tensor.Span[range];
                values.AsSpan(at, to.Length).CopyTo(to);
                at += to.Length;
            }
        }
    }

    /// <summary>
    /// Brings the filters back with new weights, their biases and norms as at the beginning, and the weights that read them drawn
    /// anew (or zero); the optimiser keeps nothing of what was there.
    /// </summary>
    public void Restore(OrthogonalFilters filters, bool zeroReaders, ref Rng rng, Optimizer? optimizer)
    {
        // Readers first: columns that read one restored layer belong to filters that the next must be orthogonal to.
        foreach (var (slice, elements, _) in Slices())
            if (!FilterWeights.IsFilter(slice)) Renew(slice, elements, zeroReaders, ref rng);
        foreach (var (weight, rows) in old)
        {
            float[][] stayed = [.. Enumerable.Range(0, weight.Shape[0]).Where(row => !rows.ContainsKey(row))
                .Select(row => FilterWeights.Row(weight, row).ToArray())];
            float[][] made = filters.Make([.. rows.Values], stayed, ref rng);
            foreach (var (row, values) in rows.Keys.Zip(made)) values.CopyTo(weight.Span[(row * values.Length)..]);
        }
        foreach (var (slice, elements, _) in Slices()) optimizer?.Renew(slice.Tensor, elements);
    }

    private static void Renew(GroupSlice slice, Range[] elements, bool zeroReaders, ref Rng rng)
    {
        Tensor tensor = slice.Tensor;
        // A depthwise filter stays random: with zeros on both sides of it nothing would ever learn.
        bool random = slice.Role == ChannelRole.Depthwise || (slice.Role == ChannelRole.Consumer && !zeroReaders);
        float bound = random ? 1 / MathF.Sqrt(Init.Fans(tensor.Shape).In) : 0;
        bool one = slice.Role is ChannelRole.Scale or ChannelRole.RunningVariance;
        if (slice.Role is ChannelRole.Index or ChannelRole.Statistic) return;
        foreach (Range range in elements)
        {
            Span<float> values = tensor.Span[range];
            if (random) foreach (ref float x in values) x = rng.NextFloat(-bound, bound);
            else values.Fill(one ? 1 : 0);
        }
    }

    private IEnumerable<(GroupSlice Slice, Range[] Elements, int[] Entries)> Slices()
    {
        foreach (var (group, channels) in dropped)
        {
            foreach (GroupSlice slice in group.Slices)
            {
                int[] entries = [.. channels.SelectMany(c => slice.Entries[c])];
                yield return (slice, PlannedCuts.Elements(slice.Tensor.Shape, slice.Axis, entries), entries);
            }
        }
    }
}

/// <summary>What <see cref="RePr"/> adds to <see cref="CompressionJob.Findings"/>, before each drop but the first and at the end.
/// </summary>
public static class ReprFindings
{
    /// <summary>The mean norm of the restored filters' gradients over that of the others.</summary>
    public const string Gradients = "repr/gradients";

    /// <summary>The loss of the ranking images.</summary>
    public const string Loss = "repr/loss";

    /// <summary>The same without the filters that came back last.</summary>
    public const string LossWithoutRestored = "repr/loss-without-restored";
}

/// <summary>
/// Watches whether filters that came back learn anything: how large their gradients are beside those of the filters that stayed,
/// and what the loss is without them.
/// </summary>
internal sealed class ReprProbe(CompressionJob job)
{
    /// <summary>Layers that a line names.</summary>
    private const int MostNamed = 4;

    private DroppedFilters? restored;
    private double ratios;
    private long count;

    /// <summary>Begins anew with filters that have just come back.</summary>
    public void Watch(DroppedFilters filters) => (restored, ratios, count) = (filters, 0, 0);

    /// <summary>Goes on with what <see cref="Save"/> kept.</summary>
    public void Watch(DroppedFilters filters, StateReader state) =>
        (restored, ratios, count) = (filters, state.ReadDoubles("ratios").FirstOrDefault(), state.ReadLongs("count").FirstOrDefault());

    /// <summary>Keeps what was seen so far.</summary>
    public void Save(StateWriter state)
    {
        state.Add("ratios", ratios);
        state.Add("count", count);
    }

    /// <summary>The mean norm of the restored filters' gradients over that of the others, layer by layer.</summary>
    public void LookAtGradients()
    {
        foreach (var (weight, rows) in restored?.Weights ?? [])
        {
            if (weight.Grad is not { } grad) continue;
            double back = 0, stayed = 0;
            for (int row = 0; row < weight.Shape[0]; row++)
            {
                float norm = TensorPrimitives.Norm<float>(FilterWeights.Row(grad, row));
                if (rows.Contains(row)) back += norm;
                else stayed += norm;
            }
            if (!(stayed > 0)) continue;
            ratios += back / rows.Count / (stayed / (weight.Shape[0] - rows.Count));
            count++;
        }
    }

    /// <summary>Says what was seen since the last restore, and what the loss is without filters that are about to go.</summary>
    /// <param name="step">Steps that have been done.</param>
    /// <param name="going">Null where none go.</param>
    public void Report(long step, IReadOnlyList<(ChannelGroup Group, int[] Channels)>? going)
    {
        if (restored is null && going is null) return;
        var text = new List<string>();
        if (going is not null) text.Add(Dropped(going));
        if (count > 0)
        {
            job.Find(ReprFindings.Gradients, ratios / count);
            text.Add(Text($"gradients of restored filters {ratios / count:0.00} of the others'"));
        }
        if (job.Options.RankBatches > 0)
        {
            double whole = Loss([]);
            string loss = Text($"loss {whole:0.0000}");
            if (going is not null) loss += Text($", {Loss(going):0.0000} without these");
            if (restored is not null)
            {
                double without = Loss(restored.Channels);
                job.Find(ReprFindings.Loss, whole);
                job.Find(ReprFindings.LossWithoutRestored, without);
                loss += Text($", {without:0.0000} without those of the drop before");
            }
            text.Add(loss);
        }
        job.Log($"step {step}: {string.Join("; ", text)}");
        restored = null;
    }

    private static string Dropped(IReadOnlyList<(ChannelGroup Group, int[] Channels)> going)
    {
        if (going.Count == 0) return "dropped nothing, as all filters overlap alike";
        IEnumerable<string> most = going.OrderByDescending(g => (double)g.Channels.Length / g.Group.Count).Take(MostNamed)
            .Select(g => $"{g.Channels.Length} of {g.Group.Count} in {g.Group.Name}");
        return $"dropped {going.Sum(g => g.Channels.Length)} filters: {string.Join(", ", most)}"
            + (going.Count > MostNamed ? $" and others of {going.Count - MostNamed} layers" : "");
    }

    /// <summary>The mean cross-entropy over the ranking batches with some channels masked.</summary>
    private double Loss(IReadOnlyList<(ChannelGroup Group, int[] Channels)> masked)
    {
        using var mask = new MaskedModel(masked, MaskKind.Zero);
        return job.RankingLoss()[0];
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
