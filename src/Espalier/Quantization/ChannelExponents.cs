using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>
/// Scales of channels that are 1, 2, 4 or 8 eighths of the scale of all, with the zero point of all: for each channel the one
/// with the least squared error. FQ-ViT's power-of-two factor, arXiv 2111.13824.
/// </summary>
internal sealed class ChannelExponents(int width, float scale, int zero, CodeFormat format)
{
    private const int Choices = 4;

    private readonly double[] errors = new double[width * Choices];

    /// <param name="min">The least of all channels; likewise the largest.</param>
    public ChannelExponents(int width, float min, float max, CodeFormat format)
        : this(width, format.Fit(min, max).Scale / (1 << (Choices - 1)), format.Fit(min, max).Zero, format)
    {
    }

    /// <summary>Of all layer norms whose channels were seen, by another pass.</summary>
    public static Dictionary<GraphValue, ChannelExponents> Of(Graph graph, ValueRanges ranges, IEnumerable<Tensor> images,
        CodeFormat format)
    {
        var all = new Dictionary<GraphValue, ChannelExponents>();
        foreach (GraphValue norm in graph.Nodes.Select(n => n.Output))
            if (ranges.ChannelsOf(norm) is { } seen)
                all.Add(norm, new ChannelExponents(seen.Min.Length, seen.Min.Min(), seen.Max.Max(), format));
        foreach (Tensor batch in images)
        {
            using var scope = new Scope();
            graph.Run([batch], default, (value, x) => all.GetValueOrDefault(value)?.Add(x.Span));
        }
        return all;
    }

    /// <summary>Takes rows of all channels.</summary>
    public void Add(ReadOnlySpan<float> rows)
    {
        for (int i = 0; i < rows.Length; i++)
            for (int exponent = 0; exponent < Choices; exponent++)
            {
                double error = format.Rounded(rows[i], MathF.ScaleB(scale, exponent), zero) - rows[i];
                errors[i % width * Choices + exponent] += error * error;
            }
    }

    /// <summary>Of each channel that of the least error; of equals the smallest.</summary>
    public int[] Best() => [.. Enumerable.Range(0, width).Select(c =>
        Enumerable.Range(0, Choices).MinBy(exponent => errors[c * Choices + exponent]))];

    /// <summary>The scale of exponent 0, the zero point of all, and what each channel's is to them.</summary>
    public (float Scale, int Zero, float[] Factors, float[] Shifts) Shared() =>
        (scale, zero, [.. Best().Select(e => MathF.ScaleB(1, e))], new float[width]);
}
