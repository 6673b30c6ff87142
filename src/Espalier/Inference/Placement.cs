namespace Espalier.Inference;

/// <summary>
/// Decides which maps lie inside others: slices where they are cut from, the parts of a concatenation where they end up, and
/// the results of passes on their input, where nobody reads that any more.
/// </summary>
internal static class Placement
{
    public static void Run(NetGraph graph)
    {
        HashSet<Map> whole = [graph.Input, .. graph.Outputs];
        foreach (FlattenLayer flatten in graph.Layers.OfType<FlattenLayer>()) whole.UnionWith([flatten.Input, flatten.Output]);
        foreach (Layer layer in graph.Layers)
        {
            if (layer is FlattenLayer) Put(layer.Output, layer.Input, 0);
            if (layer is not ArrangeLayer arrange) continue;
            if (arrange.IsSlice && !whole.Contains(arrange.Output)) Put(arrange.Output, arrange.Input, arrange.From[0].Channel);
            else if (arrange.IsConcat) PlaceParts(arrange, whole);
        }
        ReuseInputs(graph, whole);
        RoundUp(graph, whole);
    }

    /// <summary>
    /// Pixels take whole vectors, so that channels that pruning left over are not computed one by one. Maps that are copied in
    /// and out, or flattened, and token rows, which products take as they are, stay so.
    /// </summary>
    private static void RoundUp(NetGraph graph, HashSet<Map> whole)
    {
        foreach (Map map in graph.Layers.SelectMany(l => l.Inputs.Append(l.Output)).Distinct())
            if (map.Home is null && map.Axis is null && !whole.Contains(map))
                map.Room = map.Codes is null ? Map.WholeVectors(map.Channels) : Map.BytesOfCodes(map.Channels);
    }

    private static void PlaceParts(ArrangeLayer concat, HashSet<Map> whole)
    {
        int at = 0;
        foreach (Map part in concat.Inputs)
        {
            if (part.Home is null && !whole.Contains(part)) Put(part, concat.Output, at);
            at += part.Channels;
        }
    }

    /// <summary>What a pass, or a sum in a convolution, reads for the last time takes the result.</summary>
    private static void ReuseInputs(NetGraph graph, HashSet<Map> whole)
    {
        var last = new Dictionary<Map, int>();
        for (int i = 0; i < graph.Layers.Count; i++)
            foreach (Map map in graph.Layers[i].Inputs) last[map.Root] = i;
        for (int i = 0; i < graph.Layers.Count; i++)
        {
            Layer layer = graph.Layers[i];
            Map? reused = layer switch
            {
                AffineLayer or UnaryLayer or ScaleLayer or SumLayer or GeluLayer or LayerNormLayer or GroupNormLayer
                    or SoftmaxLayer or KeepLayer => layer.Input,
                ConvLayer conv => conv.Residual,
                _ => null,
            };
            Map y = layer.Output;
            if (reused is null || y.Home is not null || whole.Contains(reused) || whole.Contains(y)) continue;
            Map root = reused.Root;
            if (root != reused || last[root] != i || !root.SameShape(y)) continue;
            // A convolution's result must not touch what it reads.
            if (layer is ConvLayer && layer.Input.Root == root) continue;
            Put(y, root, 0);
            last[root] = Math.Max(last[root], last.GetValueOrDefault(y, i));
        }
    }

    private static void Put(Map map, Map home, int firstChannel) => (map.Home, map.FirstChannel) = (home, firstChannel);
}
