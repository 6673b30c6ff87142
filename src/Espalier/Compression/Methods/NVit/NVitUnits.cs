using Espalier.Optim;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.NVit;

/// <summary>What a unit is.</summary>
internal enum NVitKind
{
    /// <summary>A channel of the stream, of the whole network.</summary>
    Embedding,

    Head,

    /// <summary>An index of queries and keys, in all heads of a block.</summary>
    QueryKey,

    /// <summary>The same of values.</summary>
    Value,

    /// <summary>A unit of an MLP.</summary>
    Hidden,
}

/// <summary>The units of one kind of one block, or the channels of the stream: which are gone, and what each is worth.</summary>
/// <param name="block">From 0; -1 for the stream.</param>
/// <param name="fewest">Units that stay.</param>
/// <param name="judged">The weights of a unit whose products with their gradients are added up.</param>
internal sealed class NVitLayer(ChannelGroup group, NVitKind kind, int block, int fewest, IReadOnlyList<GroupSlice> judged)
{
    public ChannelGroup Group => group;

    public NVitKind Kind => kind;

    public int Block => block;

    public int Fewest => fewest;

    public IReadOnlyList<GroupSlice> Judged => judged;

    /// <summary>Units that go at a time: the published number, but at most a sixth of the layer.</summary>
    public int Chunk { get; } = Math.Clamp(group.Count / 6, 1, kind switch
    {
        NVitKind.Head => 2,
        NVitKind.QueryKey or NVitKind.Value => 8,
        _ => 16,
    });

    /// <summary>What the sum of weight times gradient is divided by before it is squared; the reference's numbers.</summary>
    public double Divisor => kind switch
    {
        NVitKind.Embedding or NVitKind.Head => 12,
        NVitKind.Hidden => 1,
        _ => 2,
    };

    public bool[] Gone { get; } = new bool[group.Count];

    /// <summary>Of the steps since the last pruning.</summary>
    public double[] Sum { get; } = new double[group.Count];

    public double[] Score { get; } = new double[group.Count];

    public int Left => Gone.Count(gone => !gone);

    /// <summary>Units that may still go, in whole chunks.</summary>
    public int Spare => Math.Max(0, Left - fewest) / Chunk * Chunk;

    /// <summary>Those left, the least important first.</summary>
    public int[] InOrder() => [.. Enumerable.Range(0, group.Count).Where(k => !Gone[k]).OrderBy(k => Score[k]).ThenBy(k => k)];
}

/// <summary>
/// The prunable units of a vision transformer (NViT, section 3.2), their Taylor scores (section 3.3), and those that are gone:
/// all weights of a gone unit are held at zero, so that the network at full size gives what the smaller one will.
/// </summary>
internal sealed class NVitUnits
{
    private readonly List<(Tensor Tensor, int Axis, float[] Kept)> masks = [];
    private long steps;

    private NVitUnits(IReadOnlyList<NVitLayer> layers, int blocks) => (Layers, Blocks) = (layers, blocks);

    /// <summary>The stream first, where it may lose channels, then in the order of the forward pass.</summary>
    public IReadOnlyList<NVitLayer> Layers { get; }

    /// <summary>Transformer blocks of the network.</summary>
    public int Blocks { get; }

    public int Count => Layers.Sum(l => l.Group.Count);

    /// <param name="graph">Of the network, by the views <see cref="HeadView.Heads"/> and <see cref="HeadView.AllHeads"/>.</param>
    /// <param name="kinds">What may lose units.</param>
    /// <exception cref="EspalierException">It is no vision transformer, or nothing may go.</exception>
    public static NVitUnits Of(Graph network, DependencyGraph graph, SelectionOptions selection, ChannelKind kinds)
    {
        selection.RequireKept(graph);
        IReadOnlyList<TransformerBlock> blocks = TransformerBlocks.Of(network).Blocks;
        var layers = new List<NVitLayer>();
        foreach (ChannelGroup group in graph.Groups.Where(g => kinds.HasFlag(g.Kind) && g.Inexact is null && !selection.Keeps(g)))
        {
            int block = -1;
            bool found = group.Kind == ChannelKind.Stream ? Has(group, blocks[0].AttentionNorm)
                : (block = Array.FindIndex([.. blocks], b => Has(group, Maker(b, group.Kind)))) >= 0;
            // Of heads that differ in width an index is of one head only: losing all of one's would leave values without queries.
            bool inside = group.Kind is ChannelKind.QueryKey or ChannelKind.Value;
            if (found && (!inside || blocks[block].Heads.IsUniform) && group.Count > selection.Fewest(group))
                layers.Add(new NVitLayer(group, KindOf(group.Kind), block, selection.Fewest(group), [.. Judged(group, blocks)]));
        }
        if (layers.Sum(l => l.Spare) == 0)
            throw new EspalierException($"the transformer has no units that could be removed ({kinds})");
        return new NVitUnits([.. layers.OrderBy(l => l.Block).ThenBy(l => l.Kind)], blocks.Count);
    }

    private static GraphNode Maker(TransformerBlock block, ChannelKind kind) => kind switch
    {
        ChannelKind.Hidden => block.Fc1,
        ChannelKind.Value => block.Value,
        _ => block.Query,
    };

    private static NVitKind KindOf(ChannelKind kind) => kind switch
    {
        ChannelKind.Stream => NVitKind.Embedding,
        ChannelKind.Heads => NVitKind.Head,
        ChannelKind.QueryKey => NVitKind.QueryKey,
        ChannelKind.Value => NVitKind.Value,
        _ => NVitKind.Hidden,
    };

    private static bool Has(ChannelGroup group, GraphNode node) =>
        group.Slices.Any(s => s.Tensor == node.Operands[1]!.Tensor);

    /// <summary>
    /// Rows that make the unit, with their biases; of the stream also the columns of queries, keys, values and the MLP's first
    /// layer. What queries and keys lose is judged by the queries: the keys' sum is the same.
    /// </summary>
    private static IEnumerable<GroupSlice> Judged(ChannelGroup group, IReadOnlyList<TransformerBlock> blocks)
    {
        HashSet<Tensor> queries = [.. blocks.SelectMany(b => b.Query.Inputs.Where(i => i.IsWeight)).Select(w => w.Tensor)];
        HashSet<Tensor> readers = [.. blocks.SelectMany(b => new[] { b.Query, b.Key, b.Value }.Concat(HiddenLayers.Of(b)))
            .Select(n => n.Operands[1]!.Tensor)];
        return group.Slices.Where(s => s.Role switch
        {
            ChannelRole.Producer or ChannelRole.Bias => group.Kind != ChannelKind.QueryKey || queries.Contains(s.Tensor),
            ChannelRole.Consumer => group.Kind == ChannelKind.Stream && readers.Contains(s.Tensor),
            _ => false,
        });
    }

    /// <summary>Adds ((Σ w · dL/dw) / divisor)² of each unit, by the gradients that the weights have now.</summary>
    public void AddGradients()
    {
        var along = new Dictionary<(Tensor, int), double[]>();
        foreach (NVitLayer layer in Layers)
        {
            var sums = new double[layer.Group.Count];
            foreach (GroupSlice slice in layer.Judged)
            {
                if (slice.Tensor.Grad is null) continue;
                if (!along.TryGetValue((slice.Tensor, slice.Axis), out double[]? entries))
                    along.Add((slice.Tensor, slice.Axis), entries = Along(slice.Tensor, slice.Tensor.Grad, slice.Axis));
                for (int k = 0; k < sums.Length; k++)
                    foreach (int entry in slice.Entries[k]) sums[k] += entries[entry];
            }
            for (int k = 0; k < sums.Length; k++) layer.Sum[k] += Squared(sums[k], layer.Divisor);
        }
        steps++;
    }

    /// <summary>The score of a sum of weight times gradient; 0 of what is no number.</summary>
    internal static double Squared(double sum, double divisor) =>
        sum / divisor * (sum / divisor) is var score && double.IsFinite(score) ? score : 0;

    /// <summary>Σ w · g over all elements of each entry of an axis.</summary>
    internal static double[] Along(Tensor weight, Tensor gradient, int axis)
    {
        var (outer, size, below) = Sizes(weight.Shape, axis);
        var sums = new double[size];
        ReadOnlySpan<float> w = weight.Span, g = gradient.Span;
        for (int o = 0; o < outer; o++)
        {
            for (int e = 0; e < size; e++)
            {
                int at = (o * size + e) * below;
                sums[e] += below == 1 ? (double)w[at] * g[at] : TensorPrimitives.Dot(w.Slice(at, below), g.Slice(at, below));
            }
        }
        return sums;
    }

    private static (int Outer, int Size, int Below) Sizes(Shape shape, int axis)
    {
        int below = PlannedCuts.Below(shape, axis);
        return ((int)(shape.Length / Math.Max(1, (long)shape[axis] * below)), shape[axis], below);
    }

    /// <summary>score = momentum · score + (1 - momentum) · mean of the steps since the last time.</summary>
    public void Average(double momentum)
    {
        foreach (NVitLayer layer in Layers)
        {
            for (int k = 0; k < layer.Score.Length; k++)
                layer.Score[k] = momentum * layer.Score[k] + (1 - momentum) * layer.Sum[k] / Math.Max(1, steps);
            Array.Clear(layer.Sum);
        }
        steps = 0;
    }

    /// <summary>What is gone, with more units.</summary>
    public RemovalPlan Plan(params IEnumerable<(NVitLayer Layer, int[] Units)> more)
    {
        var plan = new RemovalPlan();
        ILookup<NVitLayer, int> added = more.SelectMany(m => m.Units, (m, unit) => (m.Layer, Unit: unit))
            .ToLookup(m => m.Layer, m => m.Unit);
        foreach (NVitLayer layer in Layers)
            plan.Add(layer.Group, Enumerable.Range(0, layer.Gone.Length).Where(k => layer.Gone[k]).Concat(added[layer]));
        return plan;
    }

    /// <summary>Lets units go: their weights are zero from now on, and an optimiser forgets what it keeps for them.</summary>
    public void Remove(IEnumerable<(NVitLayer Layer, int[] Units)> units, Optimizer? optimizer)
    {
        foreach (var (layer, gone) in units)
        {
            foreach (int k in gone) layer.Gone[k] = true;
            if (optimizer is null) continue;
            foreach (GroupSlice slice in layer.Group.Slices.Where(IsWeight))
            {
                IEnumerable<int> entries = gone.SelectMany(k => slice.Entries[k]);
                optimizer.Renew(slice.Tensor, PlannedCuts.Elements(slice.Tensor.Shape, slice.Axis, entries));
            }
        }
        MakeMasks();
        Zero();
    }

    /// <summary>Sets the weights of all that is gone to zero again, after a step.</summary>
    public void Zero()
    {
        foreach (var (tensor, axis, kept) in masks)
        {
            var (outer, size, below) = Sizes(tensor.Shape, axis);
            for (int o = 0; o < outer; o++)
            {
                Span<float> all = tensor.Span.Slice(o * size * below, size * below);
                if (below == 1) TensorPrimitives.Multiply(all, kept, all);
                else for (int e = 0; e < size; e++) if (kept[e] == 0) all.Slice(e * below, below).Clear();
            }
        }
    }

    /// <summary>What it has seen and done, as named values.</summary>
    public void Save(Training.StateWriter state)
    {
        state.Add("steps", steps);
        for (int i = 0; i < Layers.Count; i++)
        {
            state.Add($"{i}/gone", Array.ConvertAll(Layers[i].Gone, gone => gone ? (byte)1 : (byte)0));
            state.Add($"{i}/sum", Layers[i].Sum);
            state.Add($"{i}/score", Layers[i].Score);
        }
    }

    public void Load(Training.StateReader state)
    {
        steps = state.ReadLong("steps");
        for (int i = 0; i < Layers.Count; i++)
        {
            Array.ConvertAll(state.ReadBytes($"{i}/gone"), gone => gone != 0).CopyTo(Layers[i].Gone, 0);
            state.ReadDoubles($"{i}/sum").CopyTo(Layers[i].Sum, 0);
            state.ReadDoubles($"{i}/score").CopyTo(Layers[i].Score, 0);
        }
        MakeMasks();
    }

    private void MakeMasks()
    {
        masks.Clear();
        foreach (var axis in Layers.SelectMany(l => l.Group.Slices.Where(IsWeight), (l, slice) => (Layer: l, Slice: slice))
            .GroupBy(x => (x.Slice.Tensor, x.Slice.Axis)))
        {
            float[] kept = new float[axis.Key.Tensor.Shape[axis.Key.Axis]];
            Array.Fill(kept, 1);
            foreach (var (layer, slice) in axis)
                for (int k = 0; k < layer.Gone.Length; k++)
                    if (layer.Gone[k]) foreach (int entry in slice.Entries[k]) kept[entry] = 0;
            if (kept.Contains(0)) masks.Add((axis.Key.Tensor, axis.Key.Axis, kept));
        }
    }

    private static bool IsWeight(GroupSlice slice) => slice.Role is not
        (ChannelRole.Index or ChannelRole.RunningMean or ChannelRole.RunningVariance or ChannelRole.Statistic);
}
