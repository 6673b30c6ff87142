using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>
/// Takes out of each bias what rounding the weight adds to the mean of the layer's results: b - (Wq - W) E[x], where x is what the
/// layers before, already rounded and corrected, give it. Nagel et al., arXiv 1906.04721.
/// </summary>
internal static class BiasCorrection
{
    /// <summary>One pass: each bias is corrected as soon as its layer's input is there.</summary>
    /// <param name="floatWeights">What the weights were, where the graph has codes in their place by now; else null.</param>
    /// <returns>How many biases.</returns>
    public static int Apply(Graph graph, IReadOnlyList<QuantisedLayer> layers, IEnumerable<Tensor> images,
        IReadOnlyDictionary<QuantisedLayer, Tensor>? floatWeights = null)
    {
        ILookup<GraphValue, QuantisedLayer> waiting = layers
            // A bias that several layers share cannot be corrected for each.
            .Where(l => l.Bias is not null && BatchNormFolding.Readers(graph, l.Node.Operands[2]!) == 1).ToLookup(l => l.Input);
        int count = 0;
        foreach (Tensor batch in images)
        {
            using var scope = new Scope();
            graph.Run([batch], default, (value, x) =>
            {
                foreach (QuantisedLayer layer in waiting[value])
                {
                    Correct(layer, floatWeights?[layer] ?? layer.Weight.Tensor, Means(x, layer.Node.Op is Conv2dOp));
                    count++;
                }
            });
            // One batch says enough of means: a second pass would correct what is corrected.
            return count;
        }
        throw new EspalierException("there are no calibration images to correct biases by; give some");
    }

    /// <summary>Brings biases to whole numbers of the scale of their layer's sums, as runtimes hold them.</summary>
    public static void Round(IReadOnlyList<QuantisedLayer> layers)
    {
        foreach (QuantisedLayer layer in layers)
        {
            if (layer.Bias is not { } bias || layer.Input.Producer is not { Op: QuantiseOp } input) continue;
            Tensor x = input.Operands[1]!.Tensor, w = layer.Codes.Scale;
            for (int o = 0; o < bias.Length; o++)
            {
                double scale = (double)x.Span[0] * w.Span[w.Length == 1 ? 0 : o], code = Math.Round(bias.Span[o] / scale);
                if (Math.Abs(code) < 1 << 30) bias.Span[o] = (float)(code * scale);
            }
        }
    }

    private static void Correct(QuantisedLayer layer, Tensor weight, double[] means)
    {
        using var scope = new Scope();
        QuantisedValue codes = layer.Codes;
        Tensor rounded = F.Quantise(layer.Weight.Tensor, codes.Scale, codes.Zero, codes.Format.Low, codes.Format.High, codes.Axis);
        float[] shift = Shift(weight, rounded, means);
        for (int o = 0; o < shift.Length; o++) layer.Bias!.Span[o] -= shift[o];
    }

    /// <summary>(Wq - W) E[x].</summary>
    /// <param name="means">[channels] of x; of groups each output sees its own.</param>
    internal static float[] Shift(Tensor weight, Tensor rounded, double[] means)
    {
        int outputs = weight.Shape[0], columns = weight.Shape[1], taps = (int)(weight.Length / ((long)outputs * columns));
        int groups = means.Length / columns, each = outputs / groups;
        var shift = new float[outputs];
        for (int o = 0; o < outputs; o++)
        {
            double sum = 0;
            for (int c = 0; c < columns; c++)
                for (int t = 0; t < taps; t++)
                {
                    int at = (o * columns + c) * taps + t;
                    sum += ((double)rounded.Span[at] - weight.Span[at]) * means[o / each * columns + c];
                }
            shift[o] = (float)sum;
        }
        return shift;
    }

    /// <summary>Of each channel.</summary>
    /// <param name="maps">Whether x is maps [N, C, H, W] that a convolution reads; else channels are the last axis, whatever the rank.</param>
    private static double[] Means(Tensor x, bool maps)
    {
        int channels = maps ? x.Shape[1] : x.Shape[-1], area = maps ? x.Shape[2] * x.Shape[3] : 1;
        var means = new double[channels];
        long rows = x.Length / area;
        for (long r = 0; r < rows; r++)
            means[r % channels] += System.Numerics.Tensors.TensorPrimitives.Sum(x.Span.Slice((int)(r * area),
                area)) / (double)(rows / channels * area);
        return means;
    }
}
