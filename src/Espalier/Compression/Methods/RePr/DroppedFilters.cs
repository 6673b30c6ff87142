using System.Runtime.InteropServices;
using Espalier.Nn;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.RePr;

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
