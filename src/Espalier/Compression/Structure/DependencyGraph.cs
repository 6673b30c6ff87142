using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Which channels of a network can be removed, and what goes with each: read from one recorded forward pass, so no network
/// needs a pruning script of its own. The rules are those of "What is physically removed" in docs/structure.md.
/// <code>
/// using var graph = DependencyGraph.Build(model.Graph, example);
/// var plan = new RemovalPlan().Add(graph["layer1.0.conv1"], 2, 5, 7);
/// RemovalReport report = Removal.Apply(graph, plan);
/// </code>
/// A graph describes the network as it was: after a removal, build another.
/// </summary>
public sealed class DependencyGraph : IDisposable
{
    private readonly Graph network;
    private readonly Dictionary<Tensor, string> names = [];
    private readonly Dictionary<string, ChannelGroup> groups;
    private readonly List<(long MultiplyAdds, int[][][] Axes)> work = [];

    // Of each attention of the graph: the channels that each column of its queries, and of its values, belongs to.
    private readonly List<(GraphNode Node, int[][] Query, int[][] Value)> attentions = [];

    private DependencyGraph(Graph network, Tensor example, IReadOnlyList<HeadView> views)
    {
        (this.network, State) = (network, [.. network.Weights.Values.Select(w => (w.Name, w.Tensor))]);
        foreach (var (name, tensor) in State) names.TryAdd(tensor, name);
        Example = Tensor.Unscoped(example.Shape);
        Example.CopyFrom(example);
        using var recording = Record(out Tensor[] outputs);
        var readings = new List<(FlowReader Flow, GroupBuilder Builder)>();
        foreach (HeadView view in views)
        {
            var flow = new FlowReader(recording.Ops, Example, outputs, view);
            readings.Add((flow, new GroupBuilder(flow, names, readings.Count == 0 ? null : readings[^1].Builder)));
        }
        Groups = [.. readings.SelectMany(r => r.Builder.Groups)];
        Fixed = readings[0].Builder.Fixed;
        groups = Groups.ToDictionary(g => g.Name);
        // Each view says the same of what work there is; they differ in what the entries of an axis belong to.
        foreach (var (multiplyAdds, axes) in readings[0].Flow.Work)
            work.Add((multiplyAdds, [.. axes.Select(a => Channels(a.Tensor, a.Axis))]));
        // The graph's nodes ran in their order.
        foreach (var (node, op) in network.Nodes.Zip(recording.Ops))
            if (op is IOfHeads heads) attentions.Add((node, Columns(heads.Queries), Columns(heads.Values)));

        int[][] Columns(Tensor tensor) => Channels(tensor, tensor.Rank - 1);

        int[][] Channels(Tensor tensor, int axis) => [.. Enumerable.Range(0, tensor.Shape[axis]).Select(entry => readings
            .Select(r => r.Builder.Channels.GetValueOrDefault(r.Flow.Entries.Find(tensor, axis, entry), -1))
            .Where(c => c >= 0).ToArray())];
    }

    /// <summary>Reads a network; a removal changes its weights and nodes.</summary>
    /// <param name="example">A batch of one image or more, [N, C, H, W]; it is copied.</param>
    /// <param name="views">What of a transformer's heads is a channel: heads where nothing is said. Of several views, such as
    /// <see cref="HeadView.Heads"/> and <see cref="HeadView.AllHeads"/>, one plan may have channels of each.</param>
    public static DependencyGraph Build(Graph network, Tensor example, params IReadOnlyList<HeadView> views)
    {
        using var scope = new Scope();
        return new DependencyGraph(network, example, views.Count == 0 ? [HeadView.Heads] : [.. views.Distinct()]);
    }

    /// <summary>What can be removed, in the order of the forward pass.</summary>
    public IReadOnlyList<ChannelGroup> Groups { get; }

    /// <summary>What must stay, and why.</summary>
    public IReadOnlyList<FixedChannels> Fixed { get; }

    /// <exception cref="EspalierException">There is no such group; the message says why where its channels must stay.</exception>
    public ChannelGroup this[string name]
    {
        get
        {
            if (groups.TryGetValue(name, out ChannelGroup? group)) return group;
            if (Fixed.FirstOrDefault(f => f.Name == name) is { } stays)
                throw new EspalierException($"the {stays.Count} channels of '{name}' must stay: {stays.Reason}");
            throw new EspalierException($"there are no channels '{name}'; the graph has {string.Join(", ", groups.Keys.Take(8))}"
                + (groups.Count > 8 ? $" and {groups.Count - 8} more" : ""));
        }
    }

    /// <summary>The first group whose channels are entries of a tensor's axis, with these entries; null for none.</summary>
    internal (ChannelGroup Group, IReadOnlyList<int[]> Entries)? Of(Tensor tensor, int axis)
    {
        foreach (ChannelGroup group in Groups)
        {
            if (group.Slices.FirstOrDefault(s => s.Tensor == tensor && s.Axis == axis) is { } slice)
                return (group, slice.Entries);
        }
        return null;
    }

    /// <summary>The group of all rows of a weight that can go on their own; null for none.</summary>
    internal ChannelGroup? Made(Tensor weight, int count) => Groups.FirstOrDefault(g => !g.IsStream && g.Count == count
        && g.Of(ChannelRole.Producer).Any(s => s.Tensor == weight && s.Axis == 0));

    /// <summary>
    /// Multiply-adds for one image with some channels removed, by arithmetic: nothing is cut, so a search over plans may ask
    /// often.
    /// </summary>
    /// <param name="plan">Null for the network as it is.</param>
    public long MultiplyAdds(RemovalPlan? plan = null)
    {
        bool[] removed = Removed(plan);
        long total = 0;
        foreach (var (multiplyAdds, axes) in work)
        {
            long left = multiplyAdds;
            foreach (int[][] entries in axes) left = left / entries.Length * entries.Count(e => IsKept(e, removed));
            total += left;
        }
        return total / Example.Shape[0];
    }

    /// <summary>For each channel of all groups whether the plan removes it.</summary>
    private bool[] Removed(RemovalPlan? plan)
    {
        bool[] removed = new bool[Groups.Sum(g => g.Count)];
        foreach (var (name, channels) in plan?.Channels ?? new Dictionary<string, int[]>())
        {
            int first = this[name].First;
            foreach (int channel in channels) removed[first + channel] = true;
        }
        return removed;
    }

    private static bool IsKept(int[] channels, bool[] removed) => !Array.Exists(channels, c => removed[c]);

    /// <summary>What was read.</summary>
    internal Graph Network => network;

    /// <summary>Of each attention of a graph whether the plan removes each column of its queries.</summary>
    internal IEnumerable<(GraphNode Node, bool[] Gone)> Attentions(RemovalPlan plan)
    {
        bool[] removed = Removed(plan);
        return attentions.Select(a => (a.Node, Array.ConvertAll(a.Query, c => !IsKept(c, removed))));
    }

    /// <summary>Of a group inside attention's heads one channel of each head, the one of most worth: a head cannot lose all of its
    /// queries and keys, or all of its values, and stay.</summary>
    internal IEnumerable<int> OneOfEachHead(ChannelGroup group, double[] worth)
    {
        bool queries = group.Kind == ChannelKind.QueryKey;
        foreach (var (node, query, value) in attentions)
        {
            HeadLayout heads = ((IOfHeads)node.Op).Heads;
            for (int h = 0; h < heads.Count; h++)
            {
                int[] columns = (queries ? heads.QueryColumns : heads.ValueColumns)[h..(h + 2)].ToArray();
                int[] own = [.. (queries ? query : value)[columns[0]..columns[1]].SelectMany(c => c).Select(c => c - group.First)
                    .Where(k => k >= 0 && k < group.Count).Distinct()];
                if (own.Length > 0) yield return own.MaxBy(k => worth[k]);
            }
        }
    }

    internal Tensor Example { get; }

    /// <summary>All parameters and buffers.</summary>
    internal IReadOnlyList<(string Name, Tensor Value)> State { get; }

    /// <summary>Names of all parameters and buffers.</summary>
    internal IReadOnlyDictionary<Tensor, string> Names => names;

    /// <summary>Set by a removal: the channels that this graph knows are no longer there.</summary>
    internal bool Stale { get; set; }

    /// <summary>Runs the network on the example in inference mode; the recording's tensors live in the caller's scope.</summary>
    internal Recording Record(out Tensor[] outputs)
    {
        var recording = new Recording(gradients: false);
        try
        {
            outputs = network.Run([Example]);
            return recording;
        }
        catch
        {
            recording.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Brings the nodes of a graph in line with weights that were cut: attention's heads are as wide as what is left of them. The
    /// result, when it is called, brings the old nodes back, for weights that got their old shapes back.
    /// </summary>
    /// <exception cref="EspalierException">They do not fit; the nodes are as they were, for the weights as they were.</exception>
    internal Action Narrow(RemovalPlan plan)
    {
        bool[] removed = Removed(plan);
        Op[] before = [.. attentions.Select(a => a.Node.Op)];
        try
        {
            foreach (var (node, query, value) in attentions)
            {
                var op = (IOfHeads)node.Op;
                node.Op = op.WithHeads(op.Heads.Keep(
                    Array.ConvertAll(query, c => IsKept(c, removed)), Array.ConvertAll(value, c => IsKept(c, removed))));
            }
            network.Refresh();
        }
        catch (ArgumentException e)
        {
            BringBack();
            throw new EspalierException(
                $"the network does not fit together without these channels: {e.Message.ReplaceLineEndings(" ")}", e);
        }
        return () =>
        {
            BringBack();
            network.Refresh();
        };

        void BringBack()
        {
            for (int i = 0; i < before.Length; i++) attentions[i].Node.Op = before[i];
        }
    }

    public void Dispose() => Example.Dispose();
}
