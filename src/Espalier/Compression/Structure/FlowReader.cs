using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// What the ops of one recorded forward pass say about channels, put together: which entries are one set, which sets must stay
/// and why, and what each parameter's slices are to the channels.
/// </summary>
internal sealed class FlowReader
{
    private readonly HashSet<Tensor> made = [], derived = [];
    private readonly Dictionary<(Tensor, int), ChannelRole> roles = [];
    private readonly List<(Tensor Tensor, int Axis, string Reason)> stays = [], mixed = [];
    private readonly List<(Tensor A, Tensor B, Tensor Sum)> sums = [];
    private readonly List<(long MultiplyAdds, (Tensor Tensor, int Axis)[] Axes)> work = [];
    private readonly List<Tensor> leaves = [];
    private readonly AttentionOp[] attentions;

    /// <param name="view">What of a transformer's heads is a channel.</param>
    public FlowReader(IReadOnlyList<Op> ops, Tensor input, IEnumerable<Tensor> outputs, HeadView view = HeadView.Heads)
    {
        View = view;
        attentions = [.. ops.OfType<AttentionOp>()];
        StayWhole(input, "they are the network's input");
        foreach (Tensor output in outputs) StayWhole(output, "they are the network's output");
        made.Add(input);
        var flows = new ChannelFlow[ops.Count];
        for (int i = 0; i < flows.Length; i++) Read(ops[i], flows[i] = new ChannelFlow { Heads = view });
        for (int i = flows.Length - 1; i >= 0; i--) PassRolesBack(ops[i], flows[i]);
    }

    public HeadView View { get; }

    public EntryUnion Entries { get; } = new();

    /// <summary>The sets of the columns of queries of all attentions.</summary>
    public HashSet<int> Queries => Columns(a => a.Inputs[0]);

    /// <summary>The same of values.</summary>
    public HashSet<int> Values => Columns(a => a.Inputs[2]);

    /// <summary>Parameters and buffers that the pass used, in the order of their first use.</summary>
    public IReadOnlyList<Tensor> Leaves => leaves;

    /// <summary>Multiply-adds of each op that has some, and the axes that they are proportional to.</summary>
    public IReadOnlyList<(long MultiplyAdds, (Tensor Tensor, int Axis)[] Axes)> Work => work;

    public ChannelRole Role(Tensor leaf, int axis) => roles.GetValueOrDefault((leaf, axis));

    public bool HasRole(Tensor leaf, int axis) => roles.ContainsKey((leaf, axis));

    /// <summary>The first reason for each set that must stay.</summary>
    public Dictionary<int, string> Stays() => Reasons(stays);

    /// <summary>The first reason for each set whose removal is not the same as its masking.</summary>
    public Dictionary<int, string> Mixed() => Reasons(mixed);

    /// <summary>Sets in which two branches are added.</summary>
    public HashSet<int> Streams()
    {
        var sets = new HashSet<int>();
        foreach (var (a, b, sum) in sums)
        {
            if (derived.Contains(a) || derived.Contains(b)) continue;
            for (int axis = 0; axis < sum.Rank; axis++) sets.UnionWith(Entries.Sets(sum, axis));
        }
        return sets;
    }

    private void Read(Op op, ChannelFlow flow)
    {
        foreach (Tensor input in op.Inputs) Meet(input);
        made.Add(op.Output);
        if (op.Inputs.All(derived.Contains)) derived.Add(op.Output);
        op.Flow(flow);
        foreach (Coupling coupling in flow.Couplings) Entries.Join(coupling);
        foreach (var (tensor, axis, reason) in flow.FixedAxes)
            stays.Add((tensor, axis, reason ?? $"{op.Name} needs all of them"));
        foreach (var (tensor, axis) in flow.MixedAxes) mixed.Add((tensor, axis, $"{op.Name} takes statistics over them"));
        foreach (var (a, b) in flow.Sums) sums.Add((a, b, op.Output));
        foreach (var (tensor, axis, role) in flow.Roles) roles.TryAdd((tensor, axis), role);
        if (flow.WorkParts.Count > 0) work.AddRange(flow.WorkParts.Select(p => (p.MultiplyAdds, new[] { (p.Tensor, p.Axis) })));
        else if (op.Cost.MultiplyAdds > 0) work.Add((op.Cost.MultiplyAdds, [.. flow.WorkAxes]));
        foreach (Tensor tensor in op.Inputs.Append(op.Output))
        {
            for (int axis = 0; axis < tensor.Rank; axis++)
                if (!Mentions(flow, tensor, axis)) stays.Add((tensor, axis, $"{op.Name} needs all of them"));
        }
    }

    /// <summary>Sees a weight for the first time.</summary>
    private void Meet(Tensor input)
    {
        if (!made.Add(input)) return;
        derived.Add(input);
        leaves.Add(input);
    }

    /// <summary>A weight that was reshaped or standardised before its use: its axes are what the result's axes are.</summary>
    private void PassRolesBack(Op op, ChannelFlow flow)
    {
        if (!derived.Contains(op.Output)) return;
        foreach (Coupling c in flow.Couplings)
        {
            if (c.A == op.Output && roles.TryGetValue((c.A, c.AxisA), out ChannelRole role)) roles.TryAdd((c.B, c.AxisB), role);
            if (c.B == op.Output && roles.TryGetValue((c.B, c.AxisB), out role)) roles.TryAdd((c.A, c.AxisA), role);
        }
    }

    private HashSet<int> Columns(Func<AttentionOp, Tensor> operand) =>
        [.. attentions.Select(operand).SelectMany(x => Entries.Sets(x, x.Rank - 1))];

    private void StayWhole(Tensor tensor, string reason)
    {
        for (int axis = 0; axis < tensor.Rank; axis++) stays.Add((tensor, axis, reason));
    }

    private static bool Mentions(ChannelFlow flow, Tensor tensor, int axis) => flow.Couplings.Any(
        c => (c.A == tensor && c.AxisA == axis) || (c.B == tensor && c.AxisB == axis));

    private Dictionary<int, string> Reasons(List<(Tensor Tensor, int Axis, string Reason)> axes)
    {
        var reasons = new Dictionary<int, string>();
        foreach (var (tensor, axis, reason) in axes)
            foreach (int set in Entries.Sets(tensor, axis)) reasons.TryAdd(set, reason);
        return reasons;
    }
}
