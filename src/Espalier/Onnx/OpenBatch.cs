using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Makes sure that a graph is for any number of images, as files of ONNX are: they keep shapes, not what made
/// them.</summary>
internal static class OpenBatch
{
    /// <summary>How many images an input's example has.</summary>
    public static int Images(Tensor input) => input.Rows?.Images ?? input.Shape[0];

    /// <summary>The values that depend on an input.</summary>
    public static HashSet<GraphValue> Computed(Graph graph)
    {
        HashSet<GraphValue> computed = [.. graph.Inputs];
        foreach (GraphNode node in graph.Nodes)
            if (node.Inputs.Any(computed.Contains)) computed.Add(node.Output);
        return computed;
    }

    /// <summary>
    /// Asks every node for the shape of its result with one image more than in the example: axis 0 must grow as the images do,
    /// all other axes must stay. A constant that was made for a batch, or an axis of images that has moved, shows.
    /// </summary>
    public static void Check(Graph graph, HashSet<GraphValue> computed)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        int images = Images(graph.Inputs[0].Tensor), more = images + 1;
        var larger = graph.Inputs.ToDictionary(i => i, i => With(i.Tensor, more));
        foreach (GraphNode node in graph.Nodes.Where(n => computed.Contains(n.Output)))
        {
            Tensor y;
            try
            {
                y = node.Op.On([.. node.Operands.Select(o => o is null ? null : larger.GetValueOrDefault(o, o.Tensor))]).Run();
            }
            catch (ArgumentException e)
            {
                throw new EspalierException($"{node.Op.Name}: the network was made for a batch of {images} images and does not "
                    + $"fit other batches ({e.Message}); such a network cannot be written as ONNX");
            }
            Shape small = node.Output.Shape, large = y.Shape;
            if (small.Rank == 0 || large.Rank != small.Rank || (long)large[0] * images != (long)small[0] * more
                || large.With(0, small[0]) != small)
            {
                throw new EspalierException($"{node.Op.Name}: makes {small} of a batch of {images} images and {large} of one of "
                    + $"{more}, so that images cannot be told apart; such a network cannot be written as ONNX");
            }
            larger[node.Output] = y;
        }
    }

    private static Tensor With(Tensor input, int images)
    {
        if (input.Rows is { } rows)
            return Tensor.Meta(input.Shape.With(0, images * rows.MaxLength), RowSet.Uniform(images, rows.MaxLength));
        return Tensor.Meta(input.Shape.With(0, images));
    }
}
