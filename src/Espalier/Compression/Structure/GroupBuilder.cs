using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Makes groups of the sets of a <see cref="FlowReader"/>: sets that take the same numbers of entries from the same axes of the
/// same parameters are the channels of one group.
/// </summary>
internal sealed class GroupBuilder
{
    private readonly FlowReader flow;
    private readonly IReadOnlyDictionary<Tensor, string> names;
    private readonly List<(Tensor Tensor, int Axis)> axes = [];
    private readonly SortedDictionary<int, List<(int Axis, int Entry)>> sets = [];
    private readonly HashSet<string> taken;
    private readonly HashSet<int> queries, values;
    private readonly int first;
    private readonly bool again;

    /// <param name="before">The groups by another view of attention's heads: those that do not go through any attention are the
    /// same and are not made again.</param>
    public GroupBuilder(FlowReader flow, IReadOnlyDictionary<Tensor, string> names, GroupBuilder? before = null)
    {
        (this.flow, this.names, again) = (flow, names, before is not null);
        (taken, first) = (before?.taken ?? [], before is null ? 0 : before.first + before.Channels.Count);
        (queries, values) = (flow.Queries, flow.Values);
        foreach (Tensor leaf in flow.Leaves)
        {
            for (int axis = 0; axis < leaf.Rank; axis++) Add(leaf, axis);
        }
        Dictionary<int, string> stays = flow.Stays(), mixed = flow.Mixed();
        HashSet<int> streams = flow.Streams();
        foreach (var group in sets.GroupBy(set => Signature(set.Value)))
        {
            int[] members = [.. group.Select(set => set.Key)];
            if (again && !Array.Exists(members, set => queries.Contains(set) || values.Contains(set))) continue;
            if (members.FirstOrDefault(stays.ContainsKey, -1) is var fixedSet and >= 0)
            {
                // Some of a layer's channels may have to stay and others not.
                Stay([.. members.Where(stays.ContainsKey)], stays[fixedSet]);
                members = [.. members.Where(set => !stays.ContainsKey(set))];
            }
            if (members.Length == 0) continue;
            if (IsWhole(members[0]))
            {
                Stay(members, "they can only be removed all together");
                continue;
            }
            string? inexact = members.Select(mixed.GetValueOrDefault).FirstOrDefault(reason => reason is not null);
            Build(members, members.Any(streams.Contains), inexact);
        }
    }

    public List<ChannelGroup> Groups { get; } = [];

    public List<FixedChannels> Fixed { get; } = [];

    /// <summary>The number of each set that is a channel, over all groups.</summary>
    public Dictionary<int, int> Channels { get; } = [];

    private void Add(Tensor leaf, int axis)
    {
        int[] roots = flow.Entries.Sets(leaf, axis);
        for (int i = 0; i < roots.Length; i++)
        {
            if (!sets.TryGetValue(roots[i], out var entries)) sets.Add(roots[i], entries = []);
            entries.Add((axes.Count, i));
        }
        axes.Add((leaf, axis));
    }

    /// <summary>Whether a set is all there is along some axis.</summary>
    private bool IsWhole(int set) =>
        sets[set].GroupBy(e => e.Axis).Any(g => g.Count() == axes[g.Key].Tensor.Shape[axes[g.Key].Axis]);

    private static string Signature(List<(int Axis, int Entry)> entries) =>
        string.Join(";", entries.GroupBy(e => e.Axis).OrderBy(g => g.Key).Select(g => $"{g.Key}*{g.Count()}"));

    private void Stay(int[] members, string reason)
    {
        // Axes that are nobody's channels, such as the sides of a kernel, are not worth a line.
        int[] used = [.. sets[members[0]].Select(e => e.Axis).Distinct().Where(a => flow.HasRole(axes[a].Tensor, axes[a].Axis))];
        if (used.Length == 0) return;
        int count = members.Length == 1 ? sets[members[0]].Count(e => e.Axis == Ordered(used)[0]) : members.Length;
        Fixed.Add(new FixedChannels(Name(used), count, reason));
    }

    private void Build(int[] members, bool stream, string? inexact)
    {
        int[] used = Ordered([.. sets[members[0]].Select(e => e.Axis).Distinct()]);
        List<int[]>[] entries = [.. used.Select(_ => new List<int[]>())];
        foreach (int set in members.OrderBy(set => sets[set].First(e => e.Axis == used[0]).Entry))
        {
            Channels.Add(set, first + Channels.Count);
            for (int i = 0; i < used.Length; i++)
                entries[i].Add([.. sets[set].Where(e => e.Axis == used[i]).Select(e => e.Entry).Order()]);
        }
        GroupSlice[] slices = [.. used.Select((a, i) =>
            new GroupSlice(names[axes[a].Tensor], axes[a].Tensor, axes[a].Axis, Role(a), entries[i]))];
        ChannelKind kind = stream ? ChannelKind.Stream : Kind(members[0], slices);
        Groups.Add(new ChannelGroup(Name(used), first + Channels.Count - members.Length, slices, kind, inexact));
    }

    private ChannelKind Kind(int member, GroupSlice[] slices)
    {
        bool query = queries.Contains(member), value = values.Contains(member);
        if (query || value) return query && value ? ChannelKind.Heads : query ? ChannelKind.QueryKey : ChannelKind.Value;
        bool linear = Array.Exists(slices, s => s is { Role: ChannelRole.Producer, Tensor.Rank: 2 });
        return linear ? ChannelKind.Hidden : ChannelKind.Channels;
    }

    private ChannelRole Role(int axis) => flow.Role(axes[axis].Tensor, axes[axis].Axis);

    private int[] Ordered(int[] used) => [.. used.OrderBy(a => Role(a) == ChannelRole.Producer ? 0 : 1).ThenBy(a => a)];

    private string Name(int[] used)
    {
        string name = LayerName.Of(names[axes[Ordered(used)[0]].Tensor]);
        if (used.All(a => Role(a) == ChannelRole.Consumer)) name += " inputs";
        if (again) name += flow.View == HeadView.Heads ? " heads" : " inside heads";
        string unique = name;
        for (int i = 2; !taken.Add(unique); i++) unique = $"{name}#{i}";
        return unique;
    }
}
