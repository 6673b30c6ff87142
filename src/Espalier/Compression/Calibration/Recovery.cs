using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

/// <summary>
/// Recovery without training: after a removal what reads the removed channels is solved anew, in closed form, to give what it gave
/// before, on some unlabelled images. Layer after layer, from front to back: the linear layers and convolutions that read them (and
/// so the output projections of attention that lost heads or value dimensions), the queries and keys of heads that lost dimensions,
/// and the statistics of batch norms.
/// <code>
/// using RecoveredWeights recovered = Recovery.Fit(graph, plan, images);
/// Removal.Apply(graph, plan, new RemovalOptions(Recovered: recovered));
/// </code>
/// After CORP (arXiv 2602.05243), VBP (arXiv 2507.12988) and He et al. (arXiv 1707.06168).
/// </summary>
public sealed class Recovery
{
    private readonly Graph network;
    private readonly PlannedCuts cuts;
    private readonly RecoverOptions options;
    private readonly RecoveredWeights result = new();
    private readonly Dictionary<Tensor, Tensor> changed = [];
    private readonly HashSet<Tensor> kept = [];
    private readonly ILookup<GraphValue, GraphNode> readers;
    private readonly TwinRun twins;
    private readonly LayerRefit layers;
    private readonly QueryKeyRefit queryKeys;

    private Recovery(DependencyGraph graph, RemovalPlan plan, IReadOnlyList<Tensor> batches, RecoverOptions options)
    {
        (network, this.options, cuts) = (graph.Network, options, new PlannedCuts(graph, plan));
        readers = network.Nodes.SelectMany(n => n.Inputs.Select(i => (i, n))).ToLookup(p => p.i, p => p.n);
        twins = new TwinRun(network, batches, changed);
        Mask(graph, plan);
        queryKeys = new QueryKeyRefit(graph.Attentions(plan), options.QueryKeys, twins, Changed, v => readers[v].Count() == 1);
        bool sequential = options.Sequential ?? batches.Sum(b => b.Shape[0]) >= RecoverOptions.SequentialFrom;
        layers = new LayerRefit(graph, cuts, options, sequential, twins, readers, Changed, result);
    }

    /// <summary>The weights with which the network of a plan gives most of what the whole network gives.</summary>
    /// <param name="graph">Of a <see cref="Graph"/> of one input.</param>
    /// <param name="images">Batches as the network wants them, preprocessed as in inference and without augmentation; two at least
    /// for the ridge to be chosen by the second half.</param>
    /// <exception cref="EspalierException">There are no images, the plan does not fit, or activations are not finite.</exception>
    public static RecoveredWeights Fit(DependencyGraph graph, RemovalPlan plan, IEnumerable<Tensor> images, RecoverOptions? options = null)
    {
        options = (options ?? new RecoverOptions()).Checked();
        plan.Check(graph);
        using Recording.PauseBlock pause = Recording.Pause();
        List<Tensor> batches = [];
        Recovery? recovery = null;
        bool done = false;
        long most = options.Memory / (2 * sizeof(float) * Math.Max(1, TwinRun.Widest(graph.Network)));
        int wanted = (int)Math.Clamp(most, 1, options.Images), taken = 0;
        try
        {
            foreach (Tensor batch in images)
            {
                batches.Add(FirstOf(batch, wanted - taken));
                if ((taken += batches[^1].Shape[0]) >= wanted) break;
            }
            if (taken == 0) throw new EspalierException("there are no calibration images to fit what is left to");
            using var scope = new Scope();
            recovery = new Recovery(graph, plan, batches, options);
            recovery.Run();
            done = true;
        }
        finally
        {
            foreach (Tensor batch in batches) batch.Dispose();
            foreach (var (weight, value) in recovery?.changed ?? [])
                if (!done || !recovery!.kept.Contains(weight)) value.Dispose();
        }
        if (taken < options.Images && taken == most)
            recovery.result.NoteList.Add($"looked at {taken} images only: more would need more than {options.Memory >> 20} MiB");
        recovery.result.Images = taken;
        return recovery.result;
    }

    /// <summary>A copy, of no scope: whoever makes batches may free them.</summary>
    private static Tensor FirstOf(Tensor batch, int count)
    {
        Tensor copy = Tensor.Unscoped(batch.Shape.With(0, Math.Min(count, batch.Shape[0])));
        batch.Span[..(int)copy.Length].CopyTo(copy.Span);
        return copy;
    }

    /// <summary>
    /// Gives linear layers and convolutions without a bias one of zeros, where no batch norm follows that could take it: for the means
    /// of what they will no longer read. To be called before the dependency graph is built.
    /// </summary>
    public static void AddBiases(Graph network)
    {
        foreach (GraphNode node in network.Nodes.ToArray())
        {
            if (node.Op is not (LinearOp { Gelu: false } or Conv2dOp) || node.Operands.ElementAtOrDefault(2) is not null) continue;
            if (node.Operands[1] is not { IsWeight: true } weight || network.Nodes.Count(n => n.Inputs.Contains(weight)) > 1) continue;
            GraphNode[] next = [.. network.Nodes.Where(n => n.Inputs.Contains(node.Output))];
            if (next.Length > 0 && next.All(n => n.Op is BatchNorm2dOp)) continue;
            string name = weight.Name.EndsWith(".weight", StringComparison.Ordinal) ? weight.Name[..^".weight".Length] : weight.Name;
            Op op = node.Op;
            string output = node.Name;
            Tensor bias = Tensor.Parameter(new Shape(weight.Shape[0]));
            GraphValue made = network.Replace(node, x => op is LinearOp ? F.Linear(x[0], x[1], bias, x.Length > 2 ? x[2] : null)
                : op.On([x[0], x[1], bias]).Run(), [($"{name}.bias", bias)]);
            made.Name = output;
        }
    }

    private void Run()
    {
        foreach (GraphNode node in network.Nodes)
        {
            twins.RunFull(node);
            if (node.Op is BatchNorm2dOp && options.Norms) FitNorm(node);
            if (node.Op is AttentionOp) queryKeys.Fit(node);
            bool corrects = node.Op is LinearOp or Conv2dOp && layers.Fit(node, IsNormed(node));
            twins.RunSmall(node);
            if (corrects) layers.CorrectMean(node);
            twins.Free(node);
        }
        result.OutputError = OutputError(network.Outputs[0]);
        foreach (Tensor weight in kept) result.Values.Add(weight, changed[weight]);
    }

    /// <summary>A copy of a weight, to be written to, that will stay.</summary>
    private Tensor Changed(Tensor weight)
    {
        kept.Add(weight);
        return Copy(weight);
    }

    private Tensor Copy(Tensor weight)
    {
        if (changed.TryGetValue(weight, out Tensor? copy)) return copy;
        copy = Tensor.Unscoped(weight.Shape);
        copy.CopyFrom(weight);
        changed.Add(weight, copy);
        return copy;
    }

    /// <summary>The second network is the first with the plan's channels zero: what the smaller network equals.</summary>
    private void Mask(DependencyGraph graph, RemovalPlan plan)
    {
        foreach (var (name, channels) in plan.Channels)
        {
            foreach (GroupSlice slice in graph[name].Slices.Where(s => MaskedModel.Makes(s.Role, MaskKind.Zero)))
                PlannedCuts.Zero(Copy(slice.Tensor), slice.Axis, channels.SelectMany(c => slice.Entries[c]));
        }
    }

    private bool IsNormed(GraphNode node) =>
        options.Norms && readers[node.Output].Any() && readers[node.Output].All(n => n.Op is BatchNorm2dOp);

    /// <summary>The statistics of a norm move by as much as those of the calibration images did.</summary>
    private void FitNorm(GraphNode node)
    {
        GraphValue x = node.Operands[0]!, mean = node.Operands[3]!, variance = node.Operands[4]!;
        if (!twins.Differs(x) || readers[mean].Count() > 1 || readers[variance].Count() > 1) return;
        int channels = mean.Shape[0];
        var (full, small) = twins.Statistics(x, channels);
        Tensor means = Changed(mean.Tensor), variances = Changed(variance.Tensor);
        for (int c = 0; c < channels; c++)
        {
            means.Span[c] += (float)(small.Mean(c) - full.Mean(c));
            double before = full.Variance(c), after = small.Variance(c);
            if (before > 1e-12 && after > 1e-12) variances.Span[c] *= (float)(after / before);
        }
    }

    private double OutputError(GraphValue output)
    {
        double error = 0;
        var all = new ChannelStatistics(ActivationRows.Channels.ChannelsOf(output.Shape));
        for (int b = 0; b < twins.Batches; b++)
        {
            var (full, small) = twins[b, output];
            all.Add(full);
            float distance = TensorPrimitives.Distance(full.Span, small.Span);
            error += (double)distance * distance;
        }
        double variance = all.SumOfVariances * all.Count;
        return variance > 0 ? error / variance : 0;
    }
}
