using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Which channels of a network can be removed, and what goes with each: read from one recorded forward pass, so no network
/// needs a pruning script of its own. The rules are those of "What is physically removed" in docs/structure.md.
/// <code>
/// using var graph = DependencyGraph.Build(model, model.Forward, example);
/// var plan = new RemovalPlan().Add(graph["layer1.0.conv1"], 2, 5, 7);
/// RemovalReport report = Removal.Apply(graph, plan);
/// </code>
/// A graph describes the network as it was: after a removal, build another.
/// </summary>
public sealed class DependencyGraph : IDisposable
{
    private readonly Module model;
    private readonly Func<Tensor, Tensor> forward;
    private readonly Dictionary<Tensor, string> names = [];
    private readonly Dictionary<string, ChannelGroup> groups;
    private readonly List<(long MultiplyAdds, (int Size, int[] Channels)[] Axes)> work = [];

    private DependencyGraph(Module model, Func<Tensor, Tensor> forward, Tensor example)
    {
        (this.model, this.forward) = (model, forward);
        foreach (var (name, tensor) in model.StateDict()) names.TryAdd(tensor, name);
        Example = Tensor.Unscoped(example.Shape);
        Example.CopyFrom(example);
        using var recording = Record(out Tensor output);
        var flow = new FlowReader(recording.Ops, names, Example, output);
        var builder = new GroupBuilder(flow, names);
        (Groups, Fixed) = (builder.Groups, builder.Fixed);
        groups = builder.Groups.ToDictionary(g => g.Name);
        foreach (var (multiplyAdds, axes) in flow.Work)
        {
            work.Add((multiplyAdds, [.. axes.Select(a => (a.Tensor.Shape[a.Axis], Channels(a.Tensor, a.Axis)))]));
        }

        int[] Channels(Tensor tensor, int axis) =>
            [.. flow.Entries.Sets(tensor, axis).Where(builder.Channels.ContainsKey).Select(set => builder.Channels[set])];
    }

    /// <summary>Runs <paramref name="forward"/> on <paramref name="example"/>, in inference mode, and reads its ops.</summary>
    /// <param name="model">Owns the parameters; code in its forward pass takes widths from its weights and inputs.</param>
    /// <param name="forward">The model's forward pass. It must run the same ops every time.</param>
    /// <param name="example">A batch of one image or more, [N, C, H, W]; the graph keeps a copy.</param>
    public static DependencyGraph Build(Module model, Func<Tensor, Tensor> forward, Tensor example)
    {
        using var scope = new Scope();
        return new DependencyGraph(model, forward, example);
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
        bool[] removed = new bool[Groups.Sum(g => g.Count)];
        foreach (var (name, channels) in plan?.Channels ?? new Dictionary<string, int[]>())
        {
            int first = this[name].First;
            foreach (int channel in channels) removed[first + channel] = true;
        }
        long total = 0;
        foreach (var (multiplyAdds, axes) in work)
        {
            long left = multiplyAdds;
            foreach (var (size, channels) in axes) left = left / size * (size - channels.Count(c => removed[c]));
            total += left;
        }
        return total / Example.Shape[0];
    }

    internal Tensor Example { get; }

    internal Module Model => model;

    /// <summary>Names of all parameters and buffers.</summary>
    internal IReadOnlyDictionary<Tensor, string> Names => names;

    /// <summary>Set by a removal: the channels that this graph knows are no longer there.</summary>
    internal bool Stale { get; set; }

    /// <summary>Runs the model on the example in inference mode; the recording's tensors live in the caller's scope.</summary>
    internal Recording Record(out Tensor output)
    {
        bool training = model.Training;
        var recording = new Recording(gradients: false);
        try
        {
            model.Training = false;
            output = forward(Example);
            return recording;
        }
        catch
        {
            recording.Dispose();
            throw;
        }
        finally
        {
            model.Training = training;
        }
    }

    public void Dispose() => Example.Dispose();
}
