using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>How the channels of a layer norm, which differ widely in range, share codes.</summary>
public enum NormCoding
{
    /// <summary>One range for all, as of other values.</summary>
    Whole,

    /// <summary>Each has a range of its own (RepQ-ViT, Li et al., arXiv 2212.08254).</summary>
    Channels,

    /// <summary>Each has a scale that is a power of two times that of all (FQ-ViT, Lin et al., arXiv 2111.13824).</summary>
    Powers,
}

/// <summary>
/// Gives each channel of a layer norm codes of its own range, and still the value one scale and one zero point: the norm's gamma
/// and beta, and weights and bias of the layers that read it, take up what is different. The network without rounding stays what
/// it was.
/// </summary>
internal static class NormRanges
{
    /// <returns>How many norms.</returns>
    public static int Apply(Graph graph, QuantisedPlaces places, ValueRanges ranges, IEnumerable<Tensor> images,
        CodeFormat format, NormCoding coding)
    {
        if (coding == NormCoding.Whole) return 0;
        int count = 0;
        HashSet<string> layers = [.. places.Layers.Select(l => l.Name)];
        Dictionary<GraphValue, ChannelExponents> exponents =
            coding == NormCoding.Powers ? ChannelExponents.Of(graph, ranges, images, format) : [];
        foreach (GraphNode node in graph.Nodes.ToArray())
        {
            if (node.Op is not LayerNormOp || ranges.ChannelsOf(node.Output) is not { } seen
                || places.Values[node.Output] != node.Output) continue;
            GraphNode[] readers = [.. graph.Nodes.Where(n => n.Inputs.Contains(node.Output))];
            bool fits = !graph.Outputs.Contains(node.Output) && readers.All(r => r.Op is LinearOp && layers.Contains(r.Name)
                && r.Operands[0] == node.Output
                && r.Inputs.Count(i => i == node.Output) == 1 && r.Operands[2] is { IsWeight: true } bias
                && BatchNormFolding.Readers(graph, bias) == 1);
            if (!fits || node.Operands is not [_, { IsWeight: true } gamma, { IsWeight: true } beta]) continue;
            if (BatchNormFolding.Readers(graph, gamma) != 1 || BatchNormFolding.Readers(graph, beta) != 1) continue;
            var (scale, zero, factors, shifts) = exponents.GetValueOrDefault(node.Output)?.Shared() ?? Shared(seen, format);
            OfNorm(gamma.Tensor, beta.Tensor, factors, shifts);
            foreach (GraphNode reader in readers) OfReader(reader.Operands[1]!.Tensor, reader.Operands[2]!.Tensor, factors,
                shifts);
            ranges.Fix(node.Output, scale, zero);
            count++;
        }
        return count;
    }

    /// <summary>The mean scale and zero point, and what each channel's is to them.</summary>
    internal static (float Scale, int Zero, float[] Factors, float[] Shifts) Shared((float[] Min, float[] Max) seen,
        CodeFormat format)
    {
        var channels = seen.Min.Zip(seen.Max, format.Fit).ToArray();
        // A channel that is always 0 has no scale to share: any would do for it, and its factor would be in the weights behind it.
        bool[] dead = [.. seen.Min.Zip(seen.Max, (min, max) => min == 0 && max == 0)];
        int[] live = [.. Enumerable.Range(0, channels.Length).Where(c => !dead[c])];
        if (live.Length == 0) live = [0];
        float scale = live.Average(c => channels[c].Scale);
        int zero = (int)Math.Clamp(Math.Round(live.Average(c => (double)channels[c].Zero)), format.Low, format.High);
        return (scale, zero, [.. channels.Select((x, c) => dead[c] ? 1 : x.Scale / scale)],
            [.. channels.Select((x, c) => dead[c] ? 0 : x.Scale * (x.Zero - zero))]);
    }

    /// <summary>gamma / r, (beta + d) / r.</summary>
    internal static void OfNorm(Tensor gamma, Tensor beta, float[] factors, float[] shifts)
    {
        for (int c = 0; c < factors.Length; c++)
        {
            gamma.Span[c] /= factors[c];
            beta.Span[c] = (beta.Span[c] + shifts[c]) / factors[c];
        }
    }

    /// <summary>b - W d, W r.</summary>
    internal static void OfReader(Tensor weight, Tensor bias, float[] factors, float[] shifts)
    {
        int width = factors.Length;
        for (int o = 0; o < weight.Shape[0]; o++)
        {
            Span<float> row = weight.Span.Slice(o * width, width);
            double moved = 0;
            for (int c = 0; c < width; c++)
            {
                moved += (double)row[c] * shifts[c];
                row[c] *= factors[c];
            }
            bias.Span[o] -= (float)moved;
        }
    }
}
