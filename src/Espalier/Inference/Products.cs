using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>What is decided of the products of token rows: their numbers, and which are one.</summary>
internal static class Products
{
    /// <summary>
    /// Gives the products that are nearly all of the work their numbers: linear layers on token rows. In float32 stay the first
    /// on patches, those whose results are the outputs (classifiers), and all that only decides which rows stay: they cost
    /// little and errors there count most. Attention gets the numbers, too.
    /// </summary>
    /// <returns>Whether there is such a product.</returns>
    public static bool SetPrecision(NetGraph graph, Precision precision)
    {
        HashSet<Layer> last = LastOf(graph);
        Dictionary<Layer, KeepLayer[]> scoring = Scoring(graph);
        bool any = false;
        foreach (ConvLayer product in graph.Layers.OfType<ConvLayer>())
        {
            if (!product.IsLinear || !product.IsProduct || last.Contains(product) || scoring.ContainsKey(product)
                || product.Input.Producer is OpLayer { Op: PatchesToRowsOp })
            {
                continue;
            }
            product.Precision = precision;
            any = true;
        }
        foreach (AttentionLayer attention in graph.Layers.OfType<AttentionLayer>())
            if (!scoring.ContainsKey(attention)) attention.Precision = precision;
        return any;
    }

    /// <summary>The layers that only make scores for rows to be kept by, and for which.</summary>
    public static Dictionary<Layer, KeepLayer[]> Scoring(NetGraph graph)
    {
        var results = new HashSet<Map>(graph.Outputs);
        var scores = new Dictionary<Map, HashSet<KeepLayer>>();
        var found = new Dictionary<Layer, KeepLayer[]>();
        for (int i = graph.Layers.Count - 1; i >= 0; i--)
        {
            Layer layer = graph.Layers[i];
            bool result = results.Contains(layer.Output);
            HashSet<KeepLayer> keeps = scores.GetValueOrDefault(layer.Output) ?? [];
            if (!result) found.Add(layer, [.. keeps]);
            foreach (Map map in layer.Inputs)
            {
                bool score = layer is KeepLayer && map != layer.Input;
                if (result && !score) results.Add(map);
                if (!scores.TryGetValue(map, out HashSet<KeepLayer>? own)) scores.Add(map, own = []);
                if (!result) own.UnionWith(keeps);
                if (score) own.Add((KeepLayer)layer);
            }
        }
        return found;
    }

    /// <summary>
    /// Products of one input become one, of whose result those of the parts are slices: queries, keys and values of a block.
    /// </summary>
    public static void Stack(NetGraph graph)
    {
        foreach (Map map in graph.Layers.SelectMany(l => l.Inputs).Distinct().ToArray())
        {
            var groups = map.Readers.OfType<ConvLayer>().Where(CanStack).Distinct().GroupBy(c => (c.Precision, c.RowCodes));
            foreach (ConvLayer[] parts in groups.Select(g => g.ToArray())) if (parts.Length > 1) Stack(graph, map, parts);

            bool CanStack(ConvLayer c) => c is { IsProduct: true, Gelu: false, Residual: null, Filters.ReadsAll: true }
                && c.Input == map && !graph.Outputs.Contains(c.Output);
        }
        graph.Rewire();
    }

    /// <summary>
    /// Two products, the first of which nobody else reads, are one where that is less work: so is what an agent of APT makes of a
    /// class token. In float32 only; two factors of low rank stay two.
    /// </summary>
    public static void Join(NetGraph graph)
    {
        foreach (ConvLayer second in graph.Layers.OfType<ConvLayer>().ToArray())
        {
            if (second is not { IsProduct: true, Precision: Precision.Fp32, RowCodes: null } || Before(second) is not { } first) continue;
            long inputs = first.Filters.Channels, between = first.Filters.Outputs, outputs = second.Filters.Outputs;
            if (outputs * inputs > between * (inputs + outputs)) continue;
            second.Filters.ReadThrough(first.Filters);
            second.Inputs = [first.Input, .. second.Inputs[1..]];
            graph.Layers.Remove(first);
            graph.Rewire();
        }

        ConvLayer? Before(ConvLayer second) => graph.Before<ConvLayer>(second.Input) is { IsProduct: true, IsOpen: true } first
            && first is { Precision: Precision.Fp32, Residual: null, RowCodes: null } ? first : null;
    }

    private static void Stack(NetGraph graph, Map map, ConvLayer[] parts)
    {
        Map all = map.Like(parts.Sum(p => p.Filters.Outputs));
        var stacked = new List<Layer>
        {
            new ConvLayer(all, map, Filters.Stacked([.. parts.Select(p => p.Filters)])) { Precision = parts[0].Precision, RowCodes = parts[0].RowCodes },
        };
        int first = 0;
        foreach (ConvLayer part in parts)
        {
            int count = part.Filters.Outputs;
            stacked.Add(new ArrangeLayer(part.Output, [all], [.. Enumerable.Range(first, count).Select(c => (0, c))]));
            first += count;
        }
        int at = parts.Min(graph.Layers.IndexOf);
        foreach (ConvLayer part in parts) graph.Layers.Remove(part);
        graph.Layers.InsertRange(at, stacked);
    }

    /// <summary>The products whose results, or the sums of which, are the outputs, but for what is done to each value.</summary>
    private static HashSet<Layer> LastOf(NetGraph graph)
    {
        var last = new HashSet<Layer>();
        foreach (Map output in graph.Outputs)
        {
            if (Maker(output) is not { } layer) continue;
            Layer?[] makers = layer is SumLayer sum ? [.. sum.Inputs.Select(Maker)] : [layer];
            if (makers.All(m => m is ConvLayer)) last.UnionWith(makers!);
        }
        return last;
    }

    private static Layer? Maker(Map map)
    {
        Layer? layer = map.Producer;
        while (layer is AffineLayer or GeluLayer or SoftmaxLayer or TakeLayer or ArrangeLayer { Inputs.Length: 1 })
            layer = layer.Input.Producer;
        return layer;
    }
}
