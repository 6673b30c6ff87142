using Espalier.Files;
using Espalier.Quantization;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.Ipq;

/// <summary>How many vectors an output's weights are divided into.</summary>
public enum IpqParts
{
    /// <summary>Blocks of a few values, each a code of its own: product quantisation.</summary>
    Blocks,

    /// <summary>One: all weights of an output are an entry of the code book. Vector quantisation.</summary>
    One,
}

/// <summary>What of its blocks' gradients an entry of a code book learns by.</summary>
public enum IpqGradient
{
    /// <summary>Their mean, so that entries that stand for many learn as fast as others.</summary>
    Mean,

    /// <summary>Their sum.</summary>
    Sum,
}

/// <summary>
/// Iterative product quantisation (Stock et al., ICLR 2020, arXiv 1907.05686; Fan et al., arXiv 2004.07320): the weights of
/// layers become codes of the entries of a small table, found by k-means, group of layers after group; behind each group the
/// entries and all that is not coded yet are trained.
/// </summary>
public sealed record Ipq : FewBitsMethod
{
    private static readonly MethodSettings<Ipq> Known = new()
    {
        { "parts", m => m.Parts, (m, x) => m with { Parts = x },
            "blocks: product quantisation; one: an output's weights are one vector, vector quantisation" },
        { "entries", m => m.Entries, (m, x) => m with { Entries = x }, 2, 65536,
            "of a code book; fewer where a quarter of the blocks are no more" },
        { "kernels", m => m.Kernels, (m, x) => m with { Kernels = x }, 1, 1024,
            "of a block where kernels are larger than a pixel" },
        { "pointwise", m => m.Pointwise, (m, x) => m with { Pointwise = x }, 1, 1024, "values of a block of 1x1 convolutions" },
        { "linear", m => m.Linear, (m, x) => m with { Linear = x }, 1, 1024, "values of a block of linear layers" },
        { "rounds", m => m.KMeansRounds, (m, x) => m with { KMeansRounds = x }, 1, 10_000, "of k-means" },
        { "stages", m => m.Stages, (m, x) => m with { Stages = x }, 0, 10_000,
            "groups of layers, one after another; 0: each layer is one" },
        { "gradient", m => m.Gradient, (m, x) => m with { Gradient = x }, "of an entry, of those of its blocks" },
        { "noise", m => m.Noise, (m, x) => m with { Noise = x }, 0.0, 0.9,
            "share of the blocks of layers not coded yet that a step of training zeroes: Quant-Noise" },
    };

    /// <inheritdoc/>
    public override string Name => "ipq";

    /// <inheritdoc/>
    public override string Purpose => "stores weights as codes of small tables, found by k-means and trained, layer after layer";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool NeedsLabels => false;

    /// <inheritdoc/>
    public override NetworkTraits Leaves => NetworkTraits.FewBits;

    public IpqParts Parts { get; init; }

    /// <summary>Of a code book at most.</summary>
    public int Entries { get; init; } = 256;

    /// <summary>Kernels of a block where they are larger than a pixel: 1, or 2 for smaller files.</summary>
    public int Kernels { get; init; } = 1;

    /// <summary>Values of a block of pointwise convolutions: 4, or 8.</summary>
    public int Pointwise { get; init; } = 4;

    /// <summary>Values of a block of linear layers: 8 in transformers, 4 in classifiers of convolutional networks.</summary>
    public int Linear { get; init; } = 8;

    public int KMeansRounds { get; init; } = 15;

    /// <summary>Groups of layers that become codes together; 0 for each layer alone.</summary>
    public int Stages { get; init; } = 3;

    public IpqGradient Gradient { get; init; }

    /// <summary>Share of the blocks that training zeroes in layers that are not coded yet.</summary>
    public double Noise { get; init; }

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        Graph graph = job.Model.Graph;
        IReadOnlyList<BlockedLayer> layers = Layers(job);
        double floats = StoredCodes.EntropyBytes(graph);
        Train(job, "noise", TrainSteps, layers);
        string[][] stages = [.. InStages(graph, layers).Select(s => s.Select(l => l.Node.Name).ToArray())];
        var left = layers.ToDictionary(l => l.Node.Name, l => l.Block);
        for (int s = 0; s < stages.Length; s++)
        {
            double error = 0;
            foreach (string name in stages[s])
            {
                error += Encode(graph, graph.Nodes.First(n => n.Name == name), left[name]);
                left.Remove(name);
            }
            job.Log($"{stages[s].Length} layers as codes; " + FormattableString.Invariant($"{error / stages[s].Length:0.0%} ")
                + "of the weights' squares are off in the mean");
            BlockedLayer[] open = [.. left.Select(l => new BlockedLayer(graph.Nodes.First(n => n.Name == l.Key), l.Value))];
            long steps = FineTuneSteps * (s + 1) / stages.Length - FineTuneSteps * s / stages.Length;
            Train(job, FormattableString.Invariant($"codes {s + 1} of {stages.Length}"), steps, open);
        }
        CodeBook.Round(graph);
        double bytes = StoredCodes.EntropyBytes(graph);
        job.Log(FormattableString.Invariant($"weights {floats / 1024:0.0} KiB -> {bytes / 1024:0.0} KiB, ")
            + "codes by their entropy");
        job.Model.Card = job.Model.Card.With($"ipq: {layers.Count} layers as codes of at most {Entries} entries");
    }

    /// <summary>The layers whose codes and table are smaller than their weights.</summary>
    private IReadOnlyList<BlockedLayer> Layers(CompressionJob job)
    {
        bool one = Parts == IpqParts.One;
        BlockedLayer[] layers = [.. BlockedLayers.Of(job, one ? 0 : Pointwise, one ? 0 : Linear, one ? 0 : Kernels)
            .Where(Shrinks)];
        return layers.Length > 0 ? layers
            : throw new EspalierException("no layer would be smaller as codes of a table: they are too small for that");
    }

    private bool Shrinks(BlockedLayer layer)
    {
        long values = layer.Weight.Shape.Length;
        int entries = CodeBook.EntriesFor(values / layer.Block, Entries);
        var (codes, book) = CodeBook.Bytes(values, layer.Block, entries);
        return entries > 1 && codes + book < sizeof(float) * values;
    }

    /// <summary>Of transformers hidden layers come before attention; else layers come as they are in the network.</summary>
    private IEnumerable<BlockedLayer[]> InStages(Graph graph, IReadOnlyList<BlockedLayer> layers)
    {
        BlockedLayer[] ordered = [.. layers.OrderBy(l => IsOfAttention(graph, l.Node) ? 1 : 0)];
        int count = Stages == 0 ? ordered.Length : Math.Min(Stages, ordered.Length), most = (ordered.Length + count - 1) / count;
        for (int s = 0, at = 0; s < count; s++)
        {
            // Not so many that a later stage would be left without any.
            int end = Math.Min(at + most, ordered.Length - (count - 1 - s));
            yield return ordered[at..end];
            at = end;
        }
    }

    /// <summary>Whether the layer reads what attention gives, or attention what the layer gives, be it through norms of
    /// queries and keys.</summary>
    internal static bool IsOfAttention(Graph graph, GraphNode layer)
    {
        return layer.Operands[0]!.Producer?.Op is AttentionOp || IsRead(layer.Output);

        bool IsRead(GraphValue value) => graph.Nodes.Any(n => n.Inputs.Contains(value) && (n.Op is AttentionOp
            || (n.Op is LayerNormOp or ReshapeOp or PermuteOp or SliceOp && IsRead(n.Output))));
    }

    /// <returns>The share of the weights' squares that is off.</returns>
    private double Encode(Graph graph, GraphNode layer, int block)
    {
        Tensor weight = layer.Operands[1]!.Tensor;
        // By name, so that another choice of layers draws the same for this one.
        var rng = new Rng(Seed, layer.Name.Aggregate(17UL, (h, c) => 31 * h + c));
        CodeBook book = CodeBook.Fit(weight, block, CodeBook.EntriesFor(weight.Length / block, Entries), KMeansRounds, ref rng);
        double error = book.Error(weight);
        book.Into(graph, layer, Gradient == IpqGradient.Mean);
        return error;
    }

    private void Train(CompressionJob job, string stage, long steps, IReadOnlyList<BlockedLayer> open)
    {
        if (Noise == 0 || open.Count == 0)
        {
            job.Train(stage, steps);
            return;
        }
        using var noise = new WeightNoise(NoiseKind.Proxy, Noise, open.Select(l => (l.Weight, l.Block)));
        job.Train(stage, steps, noise);
    }
}
