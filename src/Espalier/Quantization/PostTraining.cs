using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>How a trained network is brought to few bits.</summary>
public sealed record PostTrainingOptions
{
    /// <summary>Bits of weights, 2 to 8.</summary>
    public int WeightBits { get; init; } = 8;

    /// <summary>Bits of values, 2 to 8.</summary>
    public int ActivationBits { get; init; } = 8;

    /// <summary>Whether a weight has a scale for each output channel; else one.</summary>
    public bool PerChannel { get; init; } = true;

    /// <summary>How ranges of values are found.</summary>
    public ObserverKind Observer { get; init; } = ObserverKind.Mse;

    /// <summary>Of a moving average: what a new batch counts.</summary>
    public float Momentum { get; init; } = 0.01f;

    /// <summary>See <see cref="Equalisation"/>.</summary>
    public bool Equalise { get; init; }

    /// <summary>See <see cref="BiasCorrection"/>.</summary>
    public bool CorrectBias { get; init; }

    /// <summary>See <see cref="SecondMomentRounding"/>.</summary>
    public bool SecondMoments { get; init; }

    /// <summary>How the channels of layer norms share a range.</summary>
    public NormCoding Norms { get; init; } = NormCoding.Channels;

    /// <summary>How probabilities of attention are rounded, to as many bits as values; null where they stay floats.</summary>
    public ProbabilityCoding? Probabilities { get; init; }

    /// <summary>Whether attention's products are of bytes as well, where that is faster.</summary>
    public bool Attention { get; init; }

    /// <summary>Names of layers that stay as they are.</summary>
    public IReadOnlySet<string> Floats { get; init; } = new HashSet<string>();

    /// <summary>Bits of the weights of single layers, by name, where they are others.</summary>
    public IReadOnlyDictionary<string, int> LayerBits { get; init; } = new Dictionary<string, int>();

    /// <summary>The same with weights and biases left as they are: what a layer's rounding costs is seen beside the float network, which
    /// corrections no longer leave in the graph.</summary>
    internal PostTrainingOptions Uncorrected => this with { SecondMoments = false, CorrectBias = false };
}

/// <summary>What became of a network.</summary>
/// <param name="Layers">Names of the layers that compute with codes.</param>
/// <param name="Floats">Names of convolutions and linear layers that do not.</param>
/// <param name="Values">The values that are rounded.</param>
/// <param name="Notes">What was done, a line each.</param>
public sealed record PostTrainingResult(IReadOnlyList<string> Layers, IReadOnlyList<string> Floats,
    IReadOnlyList<QuantisedValue> Values,
    IReadOnlyList<string> Notes);

/// <summary>A network with roundings in it.</summary>
internal sealed record QuantisedNetwork(QuantisedPlaces Places, ValueRanges Ranges, IReadOnlyList<QuantisedValue> Values,
    List<string> Notes);

/// <summary>
/// Post-training quantisation: batch norms are folded, ranges of values are looked up on some images without labels, and weights
/// are rounded. The network that comes out is an ordinary graph with <see cref="QuantiseOp"/> nodes: it runs, is saved, compiled
/// and written as ONNX like any other.
/// <code>
/// PostTraining.Run(model.Graph, images, new PostTrainingOptions { Observer = ObserverKind.Mse });
/// model.Save("small.safetensors");
/// </code>
/// Jacob et al., arXiv 1712.05877; Nagel et al., arXiv 2106.08295.
/// </summary>
public static class PostTraining
{
    /// <param name="images">Batches as the network wants them, preprocessed as in inference; asked for several times.</param>
    /// <exception cref="EspalierException">There are no images, there is nothing to round, or the network gives numbers that are
    /// not finite.</exception>
    public static PostTrainingResult Run(Graph graph, IEnumerable<Tensor> images, PostTrainingOptions? options = null)
    {
        options ??= new PostTrainingOptions();
        QuantisedNetwork made = Insert(graph, images, options);
        List<string> notes = made.Notes;
        IReadOnlyList<QuantisedLayer> layers = made.Places.Layers;
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();
        // Rounding by second moments leaves codes where the float weights were, and biases are corrected by the difference.
        Dictionary<QuantisedLayer, Tensor>? floatWeights = options is { SecondMoments: true, CorrectBias: true }
            ? layers.ToDictionary(l => l, l => l.Weight.Tensor.Clone()) : null;
        if (options.SecondMoments)
            notes.Add($"{SecondMomentRounding.Apply(graph, layers, images)} weights rounded by second moments");
        if (options.CorrectBias) notes.Add($"{BiasCorrection.Apply(graph, layers, images, floatWeights)} biases corrected");
        BiasCorrection.Round(layers);
        HashSet<string> used = [.. layers.Select(l => l.Name)];
        string[] floats = [.. graph.Nodes.Where(n => n.Op is Conv2dOp or LinearOp && !used.Contains(n.Name)).Select(n => n.Name)];
        return new PostTrainingResult([.. used], floats, made.Values, notes);
    }

    /// <summary>Puts roundings into a network, with ranges of values from images and of weights from the weights.</summary>
    /// <param name="fold">Whether batch norms are folded first; else they stay, and weights are rounded as they are without
    /// them.</param>
    /// <inheritdoc cref="Run"/>
    internal static QuantisedNetwork Insert(Graph graph, IEnumerable<Tensor> images, PostTrainingOptions options,
        bool fold = true)
    {
        if (QuantisedValue.Of(graph).Any())
            throw new EspalierException("the network has values of few bits already; quantise the one that it was made from");
        CodeFormat values = CodeFormat.Activation(options.ActivationBits), weights = CodeFormat.Weight(options.WeightBits);
        using Recording.PauseBlock pause = Recording.Pause();
        var notes = new List<string>();
        int folded = fold ? BatchNormFolding.Apply(graph) : 0;
        if (folded > 0) notes.Add($"{folded} batch norms folded");
        foreach (GraphNode layer in graph.Nodes.ToArray())
            if (layer.Op is Conv2dOp or LinearOp { Gelu: false }
                && layer.Operands[1] is { IsWeight: true } && !graph.Nodes.Any(n => n.Op is BatchNorm2dOp
                && n.Operands[0] == layer.Output)) BatchNormFolding.WithBias(graph, layer);
        if (options.Equalise) notes.Add($"{Equalisation.Apply(graph)} pairs of layers equalised");
        QuantisedPlaces places = QuantisedPlaces.Of(graph, options.Floats);
        if (places.Layers.Count == 0)
            throw new EspalierException("the network has no convolution or linear layer that could be rounded");
        ValueRanges ranges = ValueRanges.Of(graph, places, images, () => Observer.Create(options.Observer, options.Momentum));
        int norms = NormRanges.Apply(graph, places, ranges, images, values, options.Norms);
        if (norms > 0) notes.Add($"{norms} layer norms with a range for each channel, taken into the layers behind them");
        if (options is { Attention: true, Probabilities: not null })
            throw new EspalierException("attention has either products of bytes or probabilities in few bits: "
                + "choose Attention or Probabilities");
        if (options.Attention) notes.Add($"{AttentionCodes.Bytes(graph)} attentions with products of bytes");
        if (options.Probabilities is { } coding)
        {
            int count = AttentionCodes.Apply(graph, images, coding, options.ActivationBits);
            notes.Add($"{count} attentions with {coding} codes of probabilities");
        }
        List<QuantisedValue> rounded = Insert(graph, places, ranges, values);
        foreach (QuantisedLayer layer in places.Layers)
        {
            CodeFormat format = options.LayerBits.TryGetValue(layer.Name, out int bits) ? CodeFormat.Weight(bits) : weights;
            QuantisedValue weight = QuantisedValue.Insert(graph, layer.Weight, format, options.PerChannel ? 0 : -1);
            weight.SetRangeOfWeight();
            rounded.Add(weight);
        }
        return new QuantisedNetwork(places, ranges, rounded, notes);
    }

    /// <summary>Rounds values in the order of the network; those that share a scale share the buffers.</summary>
    private static List<QuantisedValue> Insert(Graph graph, QuantisedPlaces places, ValueRanges ranges, CodeFormat format)
    {
        var made = new Dictionary<GraphValue, QuantisedValue>();
        var all = new List<QuantisedValue>();
        foreach (var (value, source) in places.Values)
        {
            QuantisedValue rounded;
            if (made.TryGetValue(source, out QuantisedValue? own)) rounded = QuantisedValue.Insert(graph, value, own);
            else
            {
                made[source] = rounded = QuantisedValue.Insert(graph, value, format);
                ranges.Set(source, rounded);
            }
            all.Add(rounded);
        }
        return all;
    }
}
