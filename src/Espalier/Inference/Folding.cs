using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>Takes batch norms, constant scales, activations and sums into the convolutions beside them.</summary>
internal static class Folding
{
    /// <summary>Applies the rules, here and of <see cref="ChannelFolding"/>, until none applies any more.</summary>
    public static void Run(NetGraph graph)
    {
        for (bool changed = true; changed;)
        {
            changed = false;
            // By index: a rule takes out the layer itself or one before it.
            for (int i = 0; i < graph.Layers.Count; i++)
            {
                if (!Apply(graph, graph.Layers[i])) continue;
                graph.Rewire();
                changed = true;
                i = Math.Max(-1, i - 2);
            }
        }
        foreach (AffineLayer affine in graph.Layers.OfType<AffineLayer>().ToArray()) IntoReader(graph, affine);
        graph.Rewire();
    }

    private static bool Apply(NetGraph graph, Layer layer) => layer switch
    {
        AffineLayer affine => IntoAffine(graph, affine) || IntoConvolution(graph, affine) || IntoSum(graph, affine)
            || IntoPass(graph, affine),
        SumLayer sum => IntoConvolution(graph, sum),
        GeluLayer gelu => IntoProduct(graph, gelu),
        ArrangeLayer arrange => ChannelFolding.Apply(graph, arrange),
        _ => false,
    };

    /// <summary>Two affine passes are one.</summary>
    private static bool IntoAffine(NetGraph graph, AffineLayer second)
    {
        if (second is { IsActivation: true, Activation: Activation.None })
        {
            graph.Replace(second.Output, second.Input);
            graph.Layers.Remove(second);
            return true;
        }
        if (graph.Before<AffineLayer>(second.Input) is not { Activation: Activation.None } first) return false;
        int channels = first.Output.Channels;
        float[] scale = new float[channels], shift = new float[channels];
        for (int c = 0; c < channels; c++)
        {
            scale[c] = first.ScaleOf(c) * second.ScaleOf(c);
            shift[c] = first.ShiftOf(c) * second.ScaleOf(c) + second.ShiftOf(c);
        }
        Substitute(graph, second, new AffineLayer(second.Output, first.Input, scale, shift, second.Activation));
        return true;
    }

    /// <summary>What follows a convolution alone becomes part of its weights and its activation.</summary>
    private static bool IntoConvolution(NetGraph graph, AffineLayer affine)
    {
        if (graph.Before<ConvLayer>(affine.Input) is not { IsOpen: true } conv) return false;
        if (conv.Residual is not null && affine.Scale is not null) return false;
        // The kernels of fewer bits know no other activation than GELU.
        if (conv.Precision != Precision.Fp32 && affine.Activation != Activation.None) return false;
        conv.Filters.ScaleOutputs(affine.Scale, affine.Shift);
        conv.Activation = affine.Activation;
        conv.Output = affine.Output;
        graph.Layers.Remove(affine);
        return true;
    }

    /// <summary>The convolution before these maps, where it can still take something along.</summary>
    private static ConvLayer? Free(NetGraph graph, Map map) =>
        graph.Before<ConvLayer>(map) is { IsOpen: true, Residual: null } conv ? conv : null;

    private static bool IntoProduct(NetGraph graph, GeluLayer gelu)
    {
        if (graph.Before<ConvLayer>(gelu.Input) is not { IsProduct: true, Gelu: false, Residual: null } product) return false;
        (product.Gelu, product.Quick) = (true, gelu.Quick);
        product.Output = gelu.Output;
        graph.Layers.Remove(gelu);
        return true;
    }

    /// <summary>An activation is done in the pass before it.</summary>
    private static bool IntoPass(NetGraph graph, AffineLayer affine)
    {
        if (!affine.IsActivation) return false;
        if (graph.Before<GroupNormLayer>(affine.Input) is not { Activation: Activation.None } norm) return false;
        norm.Activation = affine.Activation;
        norm.Output = affine.Output;
        graph.Layers.Remove(affine);
        return true;
    }

    private static bool IntoSum(NetGraph graph, AffineLayer affine)
    {
        if (!affine.IsActivation || graph.Before<SumLayer>(affine.Input) is not { Activation: Activation.None } sum) return false;
        sum.Activation = affine.Activation;
        sum.Output = affine.Output;
        graph.Layers.Remove(affine);
        return true;
    }

    /// <summary>A convolution takes a sum along, the later one of two. It then runs where the sum did: all that it needs is there
    /// by then.</summary>
    private static bool IntoConvolution(NetGraph graph, SumLayer sum)
    {
        for (int operand = 1; operand >= 0; operand--)
        {
            Map other = sum.Inputs[1 - operand];
            if (Free(graph, sum.Inputs[operand]) is not { } conv) continue;
            if (conv.Precision != Precision.Fp32 && sum.Activation != Activation.None) continue;
            if (Free(graph, other) is { } also && graph.Layers.IndexOf(also) > graph.Layers.IndexOf(conv)) continue;
            graph.Layers.Remove(conv);
            conv.Inputs = [conv.Input, other];
            conv.Activation = sum.Activation;
            conv.Output = sum.Output;
            graph.Layers[graph.Layers.IndexOf(sum)] = conv;
            return true;
        }
        return false;
    }

    /// <summary>Batch norm and ReLU before a convolution, or only a batch norm where no padding is in the way, become part of it:
    /// only where it alone reads them, as otherwise one pass is cheaper than several.</summary>
    private static void IntoReader(NetGraph graph, AffineLayer affine)
    {
        if (affine.Output.Readers is not [ConvLayer { InputScale: null } conv] || conv.Input != affine.Output
            || conv.Residual == affine.Output || graph.Outputs.Contains(affine.Output) || conv.Precision != Precision.Fp32)
        {
            return;
        }
        if (affine.Activation == Activation.None && conv.Filters.Groups == 1 && !conv.IsPadded)
        {
            conv.Filters.ScaleInputs(affine.Scale, affine.Shift);
        }
        else if (affine.Activation == Activation.Relu && conv.Filters.Groups == 1 && !conv.Gelu)
        {
            int channels = affine.Output.Channels;
            conv.InputScale = [.. Enumerable.Range(0, channels).Select(affine.ScaleOf)];
            conv.InputShift = [.. Enumerable.Range(0, channels).Select(affine.ShiftOf)];
        }
        else
        {
            return;
        }
        conv.Inputs = [affine.Input, .. conv.Inputs[1..]];
        graph.Layers.Remove(affine);
        graph.Rewire();
    }

    public static void Substitute(NetGraph graph, Layer old, Layer layer) =>
        graph.Layers[graph.Layers.IndexOf(old)] = layer;
}
