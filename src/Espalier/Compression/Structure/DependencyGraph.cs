using Espalier.Nn;
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
    private readonly Func<Tensor, Tensor> forward;
    private readonly Graph? network;
    private readonly Dictionary<Tensor, string> names = [];
    private readonly Dictionary<string, ChannelGroup> groups;
    private readonly List<(long MultiplyAdds, (int Size, int[] Channels)[] Axes)> work = [];

    // Of each attention of the graph: the channel that each column of its queries, and of its values, is; -1 for none.
    private readonly List<(GraphNode Node, int[] Query, int[] Value)> attentions = [];

    private DependencyGraph(IEnumerable<(string Name, Tensor Value)> state, Func<Tensor, Tensor> forward, Graph? network,
        Tensor example, HeadView view)
    {
        (this.forward, this.network, State) = (forward, network, [.. state]);
        foreach (var (name, tensor) in State) names.TryAdd(tensor, name);
        Example = Tensor.Unscoped(example.Shape);
        Example.CopyFrom(example);
        using var recording = Record(out Tensor output);
        var flow = new FlowReader(recording.Ops, names, Example, output, view);
        var builder = new GroupBuilder(flow, names);
        (Groups, Fixed) = (builder.Groups, builder.Fixed);
        groups = builder.Groups.ToDictionary(g => g.Name);
        foreach (var (multiplyAdds, axes) in flow.Work)
        {
            work.Add((multiplyAdds, [.. axes.Select(a => (a.Tensor.Shape[a.Axis], Channels(a.Tensor, a.Axis)))]));
        }

        if (network is not null)
        {
            // The graph's nodes ran in their order.
            foreach (var (node, op) in network.Nodes.Zip(recording.Ops))
                if (op is IOfHeads heads) attentions.Add((node, Columns(heads.Queries), Columns(heads.Values)));
        }

        int[] Channels(Tensor tensor, int axis) =>
            [.. flow.Entries.Sets(tensor, axis).Where(builder.Channels.ContainsKey).Select(set => builder.Channels[set])];

        int[] Columns(Tensor tensor) =>
            [.. flow.Entries.Sets(tensor, tensor.Rank - 1).Select(set => builder.Channels.GetValueOrDefault(set, -1))];
    }

    /// <summary>Reads a network that is a graph; a removal changes its weights and nodes.</summary>
    /// <param name="example">A batch of one image or more, [N, C, H, W]; it is copied.</param>
    /// <param name="view">What of a transformer's heads is a channel.</param>
    public static DependencyGraph Build(Graph network, Tensor example, HeadView view = HeadView.Heads)
    {
        using var scope = new Scope();
        return new DependencyGraph(network.Weights.Values.Select(w => (w.Name, w.Tensor)), x => network.Run(x), network, example, view);
    }

    /// <summary>Runs <paramref name="forward"/> on <paramref name="example"/>, in inference mode, and reads its ops.</summary>
    /// <param name="model">Owns the parameters; code in its forward pass takes widths from its weights and inputs.</param>
    /// <param name="forward">The model's forward pass. It must run the same ops every time.</param>
    /// <param name="example">A batch of one image or more, [N, C, H, W]; the graph keeps a copy.</param>
    public static DependencyGraph Build(Module model, Func<Tensor, Tensor> forward, Tensor example)
    {
        using var scope = new Scope();
        return new DependencyGraph(model.StateDict(), x => InEvaluation(model, forward, x), null, example, HeadView.Heads);
    }

    private static Tensor InEvaluation(Module model, Func<Tensor, Tensor> forward, Tensor x)
    {
        bool training = model.Training;
        try
        {
            model.Training = false;
            return forward(x);
        }
        finally
        {
            model.Training = training;
        }
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
            foreach (var (size, channels) in axes) left = left / size * (size - channels.Count(c => removed[c]));
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

    /// <summary>What was read; null where that was a module.</summary>
    internal Graph? Network => network;

    /// <summary>Of each attention of a graph whether the plan removes each column of its queries.</summary>
    internal IEnumerable<(GraphNode Node, bool[] Gone)> Attentions(RemovalPlan plan)
    {
        bool[] removed = Removed(plan);
        return attentions.Select(a => (a.Node, Array.ConvertAll(a.Query, c => c >= 0 && removed[c])));
    }

    internal Tensor Example { get; }

    /// <summary>All parameters and buffers.</summary>
    internal IReadOnlyList<(string Name, Tensor Value)> State { get; }

    /// <summary>Names of all parameters and buffers.</summary>
    internal IReadOnlyDictionary<Tensor, string> Names => names;

    /// <summary>Set by a removal: the channels that this graph knows are no longer there.</summary>
    internal bool Stale { get; set; }

    /// <summary>Runs the model on the example in inference mode; the recording's tensors live in the caller's scope.</summary>
    internal Recording Record(out Tensor output)
    {
        var recording = new Recording(gradients: false);
        try
        {
            output = forward(Example);
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
        if (network is null) return () => { };
        bool[] removed = Removed(plan);
        Op[] before = [.. attentions.Select(a => a.Node.Op)];
        try
        {
            foreach (var (node, query, value) in attentions)
            {
                var op = (IOfHeads)node.Op;
                node.Op = op.WithHeads(op.Heads.Keep(
                    Array.ConvertAll(query, c => c < 0 || !removed[c]), Array.ConvertAll(value, c => c < 0 || !removed[c])));
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

    /// <summary>After weights got their old shapes back.</summary>
    internal void Refresh() => network?.Refresh();

    public void Dispose() => Example.Dispose();
}
