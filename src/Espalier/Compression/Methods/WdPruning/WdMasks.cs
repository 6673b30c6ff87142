using Espalier.Tensors;

namespace Espalier.Compression.Methods.WdPruning;

/// <summary>A layer whose rows are masked: gates behind what it makes hold the mask.</summary>
/// <param name="weight">Of the layer; of queries, keys and values that of the queries.</param>
/// <param name="rounds">Whether numbers of rows are rounded.</param>
internal sealed class WdLayer(string name, Tensor weight, Gate[] gates, double initial, bool rounds)
{
    public string Name => name;

    public Tensor Weight => weight;

    public Gate[] Gates => gates;

    /// <summary>Rows, or heads.</summary>
    public int Count { get; } = (int)gates[0].Factors.Length;

    public LearnedNumbers Scores { get; } = new((int)gates[0].Factors.Length, 0);

    public LearnedNumbers Threshold { get; } = new(1, initial);

    /// <summary>The share that is kept by the threshold, before it is rounded.</summary>
    public double Keep => LearnedNumbers.Sigmoid(Threshold.Values[0]);

    public double[] Mask { get; private set; } = [];

    /// <summary>Rows that stay at a threshold so much lower, as they are rounded.</summary>
    public int Left(double lower) => WdRule.Count(Count, LearnedNumbers.Sigmoid(Threshold.Values[0] - lower), rounds);

    /// <param name="lower">Taken from the threshold.</param>
    public void Apply(double lower = 0)
    {
        Mask = WdRule.Mask(Scores.Values, Threshold.Values[0] - lower, rounds);
        foreach (Gate gate in gates)
            for (int k = 0; k < Mask.Length; k++) gate.Factors.Span[k] = (float)Mask[k];
    }

    /// <summary>dL/dmask, which is the sum of weight times gradient over a row; the gates' gradients are used up.</summary>
    public double[] TakeGradient()
    {
        var sum = new double[Count];
        foreach (Tensor factors in gates.Select(g => g.Factors))
        {
            for (int k = 0; factors.Grad is not null && k < sum.Length; k++) sum[k] += factors.Grad.Span[k];
            factors.ClearGrad();
        }
        return sum;
    }
}

/// <summary>The four masked layers of a block: heads, the projection's rows, the MLP's first rows and its second.</summary>
/// <param name="Heads">Null, as the others, where the layer is left alone.</param>
internal sealed record WdBlock(WdLayer? Heads, WdLayer? Projection, WdLayer? First, WdLayer? Second)
{
    /// <summary>In a fixed order, those that are masked.</summary>
    public IEnumerable<WdLayer> Layers => new[] { Heads, Projection, First, Second }.OfType<WdLayer>();

    /// <summary>Weights of queries, keys and values, of the projection, of what makes hidden units, and of the MLP's last layer.
    /// </summary>
    public required double[] Parameters { get; init; }

    /// <summary>Multiply-adds of the same, attention's own with the first.</summary>
    public required double[] MultiplyAdds { get; init; }

    /// <summary>A sum over the four parts, from what each layer keeps: rows go with the columns that read them.</summary>
    public static double Sum(double[] parts, double a, double o, double f1, double f2) =>
        parts[0] * a + parts[1] * a * o + parts[2] * f1 + parts[3] * f1 * f2;

    /// <summary>The part of some numbers that is left by the masks at thresholds so much lower.</summary>
    public double Left(double[] parts, double lower)
    {
        return Sum(parts, Of(Heads), Of(Projection), Of(First), Of(Second));

        double Of(WdLayer? layer) => layer is null ? 1 : (double)layer.Left(lower) / layer.Count;
    }
}

/// <summary>The masks of all blocks of a vision transformer, which are gates in its graph.</summary>
internal sealed class WdMasks
{
    private WdMasks(TransformerBlocks network, IReadOnlyList<WdBlock> blocks) => (Network, Blocks) = (network, blocks);

    /// <summary>The blocks as they were found before there were gates in them.</summary>
    public TransformerBlocks Network { get; }

    public Graph Graph => Network.Graph;

    public IReadOnlyList<WdBlock> Blocks { get; }

    public IEnumerable<WdLayer> Layers => Blocks.SelectMany(b => b.Layers);

    /// <summary>Parameters of the four layers of all blocks.</summary>
    public double Parameters => Blocks.Sum(b => b.Parameters.Sum());

    /// <summary>Puts gates behind queries, keys, values, projections and both layers of all MLPs.</summary>
    /// <param name="keeps">Layers that are left alone.</param>
    /// <param name="initial">What thresholds begin with.</param>
    /// <exception cref="EspalierException">It is no vision transformer, or nothing may be masked.</exception>
    public static WdMasks Insert(Graph graph, Func<string, bool> keeps, double initial)
    {
        var made = new List<WdBlock>();
        TransformerBlocks network = TransformerBlocks.Of(graph);
        foreach (TransformerBlock block in network.Blocks)
        {
            GraphNode[] qkv = [block.Query, block.Key, block.Value];
            // The rows of both layers of a gated MLP go together: masked in one, their product is zero.
            IReadOnlyList<GraphNode> hidden = HiddenLayers.Of(block);
            bool heads = block.Heads.IsUniform && block.Heads.QueryWidth == block.Heads.ValueWidth;
            double[] parameters = [qkv.Sum(Weights), Weights(block.Projection), hidden.Sum(Weights), Weights(block.Fc2)];
            double[] work = [qkv.Append(block.Attention).Sum(Work), Work(block.Projection), hidden.Sum(Work), Work(block.Fc2)];
            made.Add(new WdBlock(heads ? Layer(block.Heads, qkv) : null, Layer(null, block.Projection),
                hidden.Any(n => keeps(LayerOf(n))) ? null : Layer(null, block.Fc1),
                Layer(null, block.Fc2)) { Parameters = parameters, MultiplyAdds = work });
        }
        if (made.Sum(b => b.Layers.Count()) == 0) throw new EspalierException("Keep leaves no layer of the transformer to mask");
        return new WdMasks(network, made);

        WdLayer? Layer(HeadLayout? heads, params GraphNode[] nodes)
        {
            return nodes.Any(n => keeps(LayerOf(n))) ? null
                : new WdLayer(LayerOf(nodes[0]), nodes[0].Operands[1]!.Tensor,
                    [.. nodes.Select(n => Gate.Insert(graph, n.Output, heads))], initial, rounds: heads is null);
        }

        static double Weights(GraphNode node) => node.Operands[1]!.Tensor.Length;

        double Work(GraphNode node) => (double)node.Op.Cost.MultiplyAdds / graph.Inputs[0].Shape[0];
    }

    /// <summary>The layers that can be masked, by name.</summary>
    public static IReadOnlyList<string> LayersOf(Graph graph) => [.. TransformerBlocks.Of(graph).Blocks.SelectMany(b =>
        new[] { b.Query, b.Key, b.Value, b.Projection, b.Fc2 }.Concat(HiddenLayers.Of(b))).Select(LayerOf)];

    private static string LayerOf(GraphNode node) => LayerName.Of(node.Operands[1]!.Name);

    public void Apply(double lower = 0)
    {
        foreach (WdLayer layer in Layers) layer.Apply(lower);
    }

    /// <summary>R: the share of the blocks' weights that the thresholds leave, not rounded; each layer keeps one row.</summary>
    public double Remaining() => Blocks.Sum(b =>
        WdBlock.Sum(b.Parameters, Keep(b.Heads), Keep(b.Projection), Keep(b.First), Keep(b.Second))) / Parameters;

    private static double Keep(WdLayer? layer) => layer is null ? 1 : Math.Max(layer.Keep, 1.0 / layer.Count);

    /// <summary>dR/dt of a layer's threshold; 0 where one row is left.</summary>
    public double Slope(WdLayer layer)
    {
        if (layer.Keep <= 1.0 / layer.Count) return 0;
        WdBlock b = Blocks.First(x => x.Layers.Contains(layer));
        // R is linear in each share.
        return (At(1) - At(0)) / Parameters * layer.Keep * (1 - layer.Keep);

        double At(double keep)
        {
            double Or(WdLayer? l) => l == layer ? keep : Keep(l);
            return WdBlock.Sum(b.Parameters, Or(b.Heads), Or(b.Projection), Or(b.First), Or(b.Second));
        }
    }
}
