using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>What the channels of a <see cref="ChannelGroup"/> are.</summary>
[Flags]
public enum ChannelKind
{
    /// <summary>Filters of convolutions.</summary>
    Channels = 1,

    /// <summary>Units between two linear layers, such as those of a transformer's MLP.</summary>
    Hidden = 2,

    /// <summary>Attention heads: all their queries, keys and values.</summary>
    Heads = 4,

    /// <summary>An index in queries and keys, inside all heads of a layer or each.</summary>
    QueryKey = 8,

    /// <summary>An index in values and what attention makes of them.</summary>
    Value = 16,

    /// <summary>Channels in which branches are added: all members of a residual stream lose one together.</summary>
    Stream = 32,
}

/// <summary>
/// Channels that can be removed, each on its own: for channel k go together entries <c>Entries[k]</c> of every slice, the rows of
/// the weights that produce it, its norms, and the columns of the weights that read it. What "a channel" is depends on the
/// network: a filter, the same filter of several layers that a residual sum ties together, an attention head.
/// </summary>
public sealed class ChannelGroup
{
    internal ChannelGroup(string name, int first, IReadOnlyList<GroupSlice> slices, ChannelKind kind, string? inexact)
    {
        (Name, First, Slices, Kind, Inexact) = (name, first, slices, kind, inexact);
        Count = slices[0].Entries.Count;
        Layers = [.. slices.Select(s => s.Layer).Distinct()];
    }

    /// <summary>The layer that produces the channels first, such as "layer1.0.conv1"; unique within a graph.</summary>
    public string Name { get; }

    /// <summary>Number of channels.</summary>
    public int Count { get; }

    /// <summary>Producers first and in the order of the forward pass, then the rest in that order.</summary>
    public IReadOnlyList<GroupSlice> Slices { get; }

    /// <summary>All layers that become smaller, in the order of <see cref="Slices"/>.</summary>
    public IReadOnlyList<string> Layers { get; }

    public ChannelKind Kind { get; }

    /// <summary>Whether branches are added in these channels: in a residual stream all members lose a channel together.</summary>
    public bool IsStream => Kind == ChannelKind.Stream;

    /// <summary>
    /// Null where a network without a channel equals the one where it is zero. Otherwise why not: some op takes statistics over
    /// the channels, as layer norm does over the width of a transformer.
    /// </summary>
    public string? Inexact { get; }

    /// <summary>Number of the group's channel 0 among the channels of all groups.</summary>
    internal int First { get; }

    /// <summary>The slices of one role, such as the weights whose rows produce the channels.</summary>
    public IEnumerable<GroupSlice> Of(ChannelRole role) => Slices.Where(s => s.Role == role);

    public override string ToString() => $"{Name}: {Count} channels of {string.Join(", ", Layers)}";
}

/// <summary>The part of one parameter or buffer that goes with the channels of a <see cref="ChannelGroup"/>.</summary>
/// <param name="Name">Full name in the model's state dict.</param>
/// <param name="Axis">The axis that becomes shorter.</param>
/// <param name="Entries">For each channel the entries of the axis that go with it, rising.</param>
public sealed record GroupSlice(string Name, Tensor Tensor, int Axis, ChannelRole Role, IReadOnlyList<int[]> Entries)
{
    /// <summary>The name without the last part: "layer1.0.conv1" for "layer1.0.conv1.weight".</summary>
    public string Layer => LayerName.Of(Name);
}

/// <summary>Channels that must stay.</summary>
/// <param name="Name">As of a <see cref="ChannelGroup"/>.</param>
/// <param name="Reason">The end of the sentence "these channels must stay: ...".</param>
public sealed record FixedChannels(string Name, int Count, string Reason);
