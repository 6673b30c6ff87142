using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>
/// Decides which maps are codes of a byte in memory: those between convolutions whose weights are codes. What is done between two
/// such convolutions, rounding, a sum, an activation, goes into the store of the first; whoever wants floats gets them in a pass.
/// </summary>
internal static class CodeMaps
{
    public static void Run(NetGraph net)
    {
        if (!net.Layers.Exists(l => l is QuantiseLayer)) return;
        var rounded = new Dictionary<Map, CodeStep>();
        foreach (Layer layer in net.Layers.ToArray()) Note(net, layer, rounded);
        net.Rewire();
        HashSet<ConvLayer> convs = [.. net.Layers.OfType<ConvLayer>().Where(c => IsOfCodes(c, rounded))];
        foreach (ConvLayer conv in convs.ToArray())
        {
            if (!conv.IsProduct && conv.Input.Axis is null) continue;
            // Rows are never codes in memory.
            convs.Remove(conv);
            if (!conv.IsProduct) continue;
            if (conv.Input.Producer is not QuantiseLayer { Step: { Low: 0, High: 255 } } rounding) continue;
            // Rows are rounded as they are packed.
            conv.RowCodes = rounding.Step;
            conv.Inputs = [rounding.Input, .. conv.Inputs[1..]];
        }
        net.Rewire();
        foreach (ConvLayer conv in convs) IntoStore(net, conv, convs, rounded);
        net.Rewire();
        foreach (SumLayer sum in net.Layers.OfType<SumLayer>().ToArray()) IntoStore(net, sum, convs, rounded);
        net.Rewire();
        foreach (Layer layer in net.Layers.ToArray())
        {
            Map y = layer.Output;
            // What nobody takes as codes reads floats, and gives floats.
            if (layer is PoolLayer or FlattenLayer)
                y.Codes = layer.Input.Codes is not null && Takes(net, layer, layer.Input, convs, rounded) ? layer.Input.Codes : null;
            else if (layer is MeanLayer mean && mean.Input.Codes is not null) IntoMean(net, mean, convs, rounded);
            else if (layer is QuantiseLayer || (layer is ConvLayer conv && convs.Contains(conv)))
                y.Codes = rounded.TryGetValue(y, out CodeStep step) && HasTaker(net, y, convs, rounded) ? step : null;
        }
        foreach (ConvLayer conv in convs)
            // What nobody takes as codes is rounded all the same.
            if (conv.Output.Codes is null && rounded.TryGetValue(conv.Output, out CodeStep step)) conv.Mid = step;
        GiveFloats(net, convs, rounded);
        net.Rewire();
    }

    /// <summary>Notes what gives numbers that codes stand for. A second rounding to the same codes, behind what only moves them
    /// or takes the largest, is none.</summary>
    private static void Note(NetGraph net, Layer layer, Dictionary<Map, CodeStep> rounded)
    {
        if (layer is not QuantiseLayer q) return;
        bool keeps = q.Input.Producer is PoolLayer { IsMax: true } or FlattenLayer && net.Before<Layer>(q.Input) is not null;
        if (keeps && rounded.TryGetValue(q.Input.Producer!.Input, out CodeStep before) && before == q.Step)
        {
            rounded[q.Input] = q.Step;
            net.Replace(q.Output, q.Input);
            net.Layers.Remove(q);
            net.Rewire();
        }
        else rounded[q.Output] = q.Step;
    }

    private static bool IsOfCodes(ConvLayer conv, Dictionary<Map, CodeStep> rounded)
    {
        Filters f = conv.Filters;
        if (!rounded.TryGetValue(conv.Input, out CodeStep x) || !f.AreCodes || conv.InputScale is not null) return false;
        // Kernels read channels by four, and what is flattened has no room around pixels.
        if (conv.Input.Producer is FlattenLayer flat && flat.Input.Channels % 4 != 0) return false;
        if (!conv.IsProduct && !f.BiasesFit(x.Scale)) return false;
        bool depthwise = f.Groups > 1 && f.Groups == f.Channels && f.Channels == f.Outputs;
        return depthwise ? f.Taps <= CodesDepthwise.MostTaps : (long)f.Channels / f.Groups * f.Taps <= CodesConv.MostProducts;
    }

    /// <summary>A convolution's result is rounded in its store, where nobody else wants it.</summary>
    private static void IntoStore(NetGraph net, ConvLayer conv, HashSet<ConvLayer> convs, Dictionary<Map, CodeStep> rounded)
    {
        if (conv.Residual is not null) (conv.After, conv.Activation) = (conv.Activation, Activation.None);
        if (conv.Output.Axis is not null || net.Outputs.Contains(conv.Output)
            || conv.Output.Readers is not [QuantiseLayer q]) return;
        // With a residual there is no other place to round to floats.
        if (conv.Residual is not null && !HasTaker(net, q.Output, convs, rounded)) return;
        conv.Output = q.Output;
        net.Layers.Remove(q);
    }

    /// <summary>A sum goes into the store of the later one of the convolutions whose rounded result it alone reads, with the
    /// rounding that follows.</summary>
    private static void IntoStore(NetGraph net, SumLayer sum, HashSet<ConvLayer> convs, Dictionary<Map, CodeStep> rounded)
    {
        ConvLayer? last = null;
        foreach (Map map in sum.Inputs)
        {
            if (net.Before<ConvLayer>(map) is not { Residual: null } conv || !convs.Contains(conv)
                || !rounded.ContainsKey(map)) continue;
            if (last is null || net.Layers.IndexOf(conv) > net.Layers.IndexOf(last)) last = conv;
        }
        if (last is null || sum.Output.Axis is not null || sum.Inputs[0] == sum.Inputs[1]) return;
        Map other = sum.Inputs[0] == last.Output ? sum.Inputs[1] : sum.Inputs[0];
        if (!other.SamePixels(sum.Output) || other.Channels != sum.Output.Channels) return;
        QuantiseLayer? q = !net.Outputs.Contains(sum.Output) && sum.Output.Readers is [QuantiseLayer next]
            && HasTaker(net, next.Output, convs, rounded) ? next : null;
        last.Mid = rounded[last.Output];
        last.After = sum.Activation;
        last.ResidualFirst = sum.Inputs[0] == other;
        last.Inputs = [last.Input, other];
        last.Output = q?.Output ?? sum.Output;
        net.Layers.Remove(last);
        net.Layers[net.Layers.IndexOf(sum)] = last;
        if (q is not null) net.Layers.Remove(q);
        net.Rewire();
    }

    /// <summary>A mean of codes is rounded as it is made, where nobody else wants it.</summary>
    private static void IntoMean(NetGraph net, MeanLayer mean, HashSet<ConvLayer> convs, Dictionary<Map, CodeStep> rounded)
    {
        if (net.Outputs.Contains(mean.Output) || mean.Output.Readers is not [QuantiseLayer q]
            || !HasTaker(net, q.Output, convs, rounded)) return;
        mean.Output = q.Output;
        mean.Output.Codes = q.Step;
        net.Layers.Remove(q);
    }

    /// <summary>Whether anybody reads these maps as codes.</summary>
    private static bool HasTaker(NetGraph net, Map map, HashSet<ConvLayer> convs, Dictionary<Map, CodeStep> rounded) =>
        map.Axis is null && map.Readers.Exists(r => Takes(net, r, map, convs, rounded));

    private static bool Takes(NetGraph net, Layer reader, Map map, HashSet<ConvLayer> convs, Dictionary<Map,
        CodeStep> rounded) => reader switch
    {
        ConvLayer conv => convs.Contains(conv),
        PoolLayer { IsMax: true } => rounded.ContainsKey(reader.Output) && HasTaker(net, reader.Output, convs, rounded),
        // What is flattened has no room around pixels; kernels read channels by four.
        FlattenLayer => map.Channels % 4 == 0 && rounded.ContainsKey(reader.Output) && HasTaker(net, reader.Output, convs,
            rounded),
        MeanLayer => true,
        _ => false,
    };

    /// <summary>Whoever wants floats of maps that are codes reads a copy; what wants codes of maps that are none, too.</summary>
    private static void GiveFloats(NetGraph net, HashSet<ConvLayer> convs, Dictionary<Map, CodeStep> rounded)
    {
        foreach (Map map in net.Layers.Select(l => l.Output).Where(m => m.Codes is not null).ToArray())
        {
            Layer[] others = [.. map.Readers.Where(r => !Takes(net, r, map, convs, rounded)
                || r is PoolLayer or FlattenLayer && r.Output.Codes is null).Distinct()];
            if (others.Length == 0 && !net.Outputs.Contains(map)) continue;
            Map floats = map.Like(map.Channels);
            int at = net.Layers.FindIndex(l => l.Output == map) + 1;
            foreach (Layer reader in others) reader.Inputs = Array.ConvertAll(reader.Inputs, m => m == map ? floats : m);
            net.ReplaceOutput(map, floats);
            net.Layers.Insert(at, new DequantiseLayer(floats, map));
        }
    }
}
