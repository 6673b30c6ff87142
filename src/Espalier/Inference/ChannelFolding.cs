using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>Has convolutions write and read channels where they are wanted, in place of moving them.</summary>
internal static class ChannelFolding
{
    /// <summary>How much more a convolution may read or compute so that no channels need be moved. Moving costs a pass over
    /// memory; channels that are computed for nothing cost multiply-adds, outputs by whole vectors.</summary>
    private const double MostRead = 1.25, MostComputed = 1.5;

    /// <summary>Multiply-adds of token rows that take as long as moving a float does, and how many floats are moved for each channel where
    /// a sum that the layer would have taken along is a pass of its own.</summary>
    private const int WorthAFloat = 8, Moved = 4;

    public static bool Apply(NetGraph graph, ArrangeLayer arrange) =>
        Drop(graph, arrange) || Join(graph, arrange) || AfterAffine(graph, arrange) || IntoProducer(graph, arrange)
        || IntoReader(graph, arrange);

    /// <summary>Whether a layer may do so many multiply-adds a pixel for nothing. Of maps the two shares above say it: their passes go to
    /// memory, and most kernels are small.</summary>
    private static bool MayCompute(ConvLayer conv, long multiplyAdds, int channels) =>
        conv.Input.Axis is null || multiplyAdds <= WorthAFloat * Moved * channels;

    private static bool Drop(NetGraph graph, ArrangeLayer arrange)
    {
        if (!arrange.IsIdentity) return false;
        graph.Replace(arrange.Output, arrange.Input);
        graph.Layers.Remove(arrange);
        return true;
    }

    /// <summary>An arrangement of something arranged is one, unless that must be made in any case.</summary>
    private static bool Join(NetGraph graph, ArrangeLayer second)
    {
        for (int s = 0; s < second.Inputs.Length; s++)
        {
            Map middle = second.Inputs[s];
            if (middle.Producer is not ArrangeLayer { Shift: null } first) continue;
            bool onlyHere = graph.Before<ArrangeLayer>(middle) == first;
            // A concatenation of concatenations is left as it is: one grows in place into the next.
            if (!first.IsSlice && (!onlyHere || (first.IsConcat && second.IsConcat))) continue;
            var sources = new List<Map>();
            var from = new (int, int)[second.From.Length];
            for (int k = 0; k < from.Length; k++)
            {
                var (source, channel) = second.From[k];
                Map? map = source < 0 ? null : second.Inputs[source];
                if (source == s)
                {
                    (source, channel) = first.From[channel];
                    map = source < 0 ? null : first.Inputs[source];
                }
                if (map is not null && !sources.Contains(map)) sources.Add(map);
                from[k] = map is null ? ArrangeLayer.Nothing : (sources.IndexOf(map), channel);
            }
            if (sources.Count == 0) return false;
            Folding.Substitute(graph, second, new ArrangeLayer(second.Output, [.. sources], from, second.Shift));
            return true;
        }
        return false;
    }

    /// <summary>Channels are picked before an affine pass, which then works on those alone and may go into what reads them.
    /// </summary>
    private static bool AfterAffine(NetGraph graph, ArrangeLayer arrange)
    {
        if (arrange.Inputs.Length != 1 || arrange.Shift is not null || arrange.HasNothing
            || graph.Before<AffineLayer>(arrange.Input) is not { } affine)
        {
            return false;
        }
        Map picked = arrange.Output.Like(arrange.Output.Channels);
        float[]? scale = Picked(affine.Scale), shift = Picked(affine.Shift);
        graph.Layers.Remove(affine);
        int at = graph.Layers.IndexOf(arrange);
        graph.Layers[at] = new ArrangeLayer(picked, [affine.Input], arrange.From);
        graph.Layers.Insert(at + 1, new AffineLayer(arrange.Output, picked, scale, shift, affine.Activation));
        return true;

        float[]? Picked(float[]? values) => values is null ? null : Array.ConvertAll(arrange.From, f => values[f.Channel]);
    }

    /// <summary>A convolution whose result is only rearranged computes its outputs in that order; zeros are filters of zeros.
    /// </summary>
    private static bool IntoProducer(NetGraph graph, ArrangeLayer arrange)
    {
        if (arrange.Inputs.Length != 1 || graph.Before<ConvLayer>(arrange.Input) is not { Residual: null } conv
            || conv.Filters.Groups != 1
            || Map.WholeVectors(arrange.From.Length) > MostComputed * Map.WholeVectors(conv.Filters.Outputs)
            || !MayCompute(conv, (arrange.From.Length - conv.Filters.Outputs) * (long)conv.Filters.Channels, arrange.From.Length))
        {
            return false;
        }
        bool changesConstants = arrange.Shift is not null || (arrange.HasNothing && conv.Activation == Activation.Sigmoid);
        if (!conv.IsOpen && changesConstants) return false;
        conv.Filters.PickOutputs(Array.ConvertAll(arrange.From, f => f.Channel), arrange.Shift);
        conv.Output = arrange.Output;
        graph.Layers.Remove(arrange);
        return true;
    }

    /// <summary>A convolution that alone reads picked channels reads all, with zeros as the weights of the others. A slice is no
    /// work and stays one.</summary>
    private static bool IntoReader(NetGraph graph, ArrangeLayer arrange)
    {
        if (arrange.Inputs.Length != 1 || arrange.Shift is not null || arrange.IsSlice || graph.Outputs.Contains(arrange.Output)
            || arrange.Output.Readers is not [var reader] || arrange.Input.Channels > MostRead * arrange.From.Length)
        {
            return false;
        }
        int[] was = new int[arrange.Input.Channels];
        Array.Fill(was, -1);
        for (int k = 0; k < arrange.From.Length; k++)
        {
            int channel = arrange.From[k].Channel;
            if (channel < 0) continue;
            // Picked twice: one column cannot stand for two.
            if (was[channel] >= 0) return false;
            was[channel] = k;
        }
        if (reader is ConvLayer { Filters.Groups: 1, InputScale: null } conv && conv.Input == arrange.Output)
        {
            if (!MayCompute(conv, (arrange.Input.Channels - arrange.From.Length) * (long)conv.Filters.Outputs, arrange.From.Length)) return false;
            conv.Filters.ReadFrom(was);
            conv.Inputs = [arrange.Input, .. conv.Inputs[1..]];
            graph.Layers.Remove(arrange);
            return true;
        }
        // Batch norm and ReLU between them: they go first, for all channels, and the convolution may take them along later.
        if (reader is not AffineLayer { Output.Readers: [ConvLayer { Filters.Groups: 1 } behind] } affine
            || behind.Input != affine.Output || arrange.HasNothing || graph.Outputs.Contains(affine.Output))
        {
            return false;
        }
        Map all = arrange.Input.Like(arrange.Input.Channels);
        behind.Filters.ReadFrom(was);
        behind.Inputs = [all, .. behind.Inputs[1..]];
        graph.Layers.Remove(arrange);
        Folding.Substitute(graph, affine, new AffineLayer(all, arrange.Input, Spread(affine.Scale), Spread(affine.Shift),
            affine.Activation));
        return true;

        float[]? Spread(float[]? values) => values is null ? null : Array.ConvertAll(was, k => k < 0 ? 0 : values[k]);
    }
}
