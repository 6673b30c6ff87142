using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>Which rows of which value of a graph moments are wanted of.</summary>
/// <param name="Value">An input or what a node gives.</param>
/// <param name="Channels">How many of its first channels; those of the first group, where a grouped convolution reads it.</param>
/// <param name="Places">Of a flattened map, [N, channels · places], how many neighbouring values are of one channel.</param>
public sealed record MomentSource(GraphValue Value, ActivationRows Rows, int Channels, int Places = 1)
{
    /// <summary>The channels of what a linear or convolution layer gives.</summary>
    public static MomentSource OutputOf(GraphNode layer) => Of(layer.Output, layer.Op);

    /// <summary>The channels that a linear or convolution layer reads.</summary>
    public static MomentSource ChannelsInto(GraphNode layer) => Of(layer.Operands[0]!, layer.Op);

    /// <summary>What the columns of a linear or convolution layer's weight meet.</summary>
    public static MomentSource InputOf(GraphNode layer) => ChannelsInto(layer) with { Rows = ActivationRows.Of(layer.Op) };

    private static MomentSource Of(GraphValue value, Op op)
    {
        ActivationRows rows = ActivationRows.ChannelsOf(op);
        return new(value, rows, rows.ChannelsOf(value.Shape));
    }

    internal long Bytes => Moments.BytesOf(Channels * Rows.Taps);
}

/// <summary>Moments of a graph's activations over some images.</summary>
public static class ActivationMoments
{
    /// <summary>
    /// Runs the images through the graph in inference mode, once, or, where the moments together take more memory than allowed, once
    /// for each part of them.
    /// </summary>
    /// <param name="batches">Batches of images as the graph wants them, preprocessed as in inference and without augmentation; asked
    /// for again for each part.</param>
    /// <param name="memory">Bytes of moments that are held at a time, but for a single one that is larger.</param>
    /// <returns>In the order of <paramref name="sources"/>; finished as soon as they are asked for.</returns>
    /// <exception cref="EspalierException">There are no images.</exception>
    public static IEnumerable<(MomentSource Source, Moments Moments)> Of(
        Graph graph, IReadOnlyList<MomentSource> sources, IEnumerable<Tensor> batches, long memory = 1L << 30)
    {
        for (int first = 0, end; first < sources.Count; first = end)
        {
            long bytes = sources[first].Bytes;
            for (end = first + 1; end < sources.Count && bytes + sources[end].Bytes <= memory; end++) bytes += sources[end].Bytes;
            Part[] parts = [.. sources.Skip(first).Take(end - first).Select(s => new Part(s))];
            Run(graph, parts, batches);
            foreach (Part part in parts) yield return (part.Source, part.Moments);
        }
    }

    private static void Run(Graph graph, Part[] parts, IEnumerable<Tensor> batches)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        ILookup<GraphValue, Part> wanted = parts.ToLookup(p => p.Source.Value);
        bool any = false;
        foreach (Tensor batch in batches)
        {
            any = true;
            using var scope = new Scope();
            foreach (Part part in wanted[graph.Inputs[0]]) part.Add(batch);
            graph.Run([batch], default, (value, x) =>
            {
                foreach (Part part in wanted[value]) part.Add(x);
            });
        }
        if (!any) throw new EspalierException("there are no images to take the moments of activations from");
    }

    private sealed class Part(MomentSource source)
    {
        private readonly int[] channels = [.. Enumerable.Range(0, source.Channels)];

        public MomentSource Source => source;

        public Moments Moments { get; } = new(source.Channels * source.Rows.Taps);

        public void Add(Tensor x)
        {
            using var scope = new Scope();
            ActivationRows rows = source.Rows;
            if (source.Places > 1)
                (x, rows) = (x.View(new Shape(x.Shape[0], x.Shape[1] / source.Places, source.Places, 1)), ActivationRows.Channels);
            Moments.Add(rows.Take(x, channels));
        }
    }
}
