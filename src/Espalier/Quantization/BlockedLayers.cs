using Espalier.Compression;
using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>A layer whose weight is divided into blocks.</summary>
/// <param name="Block">Values of a block; a divisor of the weight's values for each output.</param>
internal sealed record BlockedLayer(GraphNode Node, int Block)
{
    public GraphValue Weight => Node.Operands[1]!;
}

/// <summary>Which layers code books are for: those that compute with codes elsewhere, but for the one that reads the
/// images.</summary>
internal static class BlockedLayers
{
    /// <param name="pointwise">Values of a block where a kernel is a single pixel; 0 for all of an output.</param>
    /// <param name="linear">The same of linear layers.</param>
    /// <param name="kernels">Kernels of a block elsewhere; 0 for all of an output.</param>
    /// <exception cref="EspalierException">There is none.</exception>
    public static IReadOnlyList<BlockedLayer> Of(CompressionJob job, int pointwise, int linear, int kernels = 1)
    {
        Graph graph = job.Model.Graph;
        BlockedLayer[] layers = [.. QuantisedPlaces.Of(graph, job.LayersLeftAlone()).Layers.Where(l =>
            !graph.Inputs.Contains(l.Input))
            .Select(l => new BlockedLayer(l.Node, BlockOf(l.Weight.Shape, pointwise, linear, kernels)))];
        return layers.Length > 0 ? layers
            : throw new EspalierException("the network has no convolution or linear layer whose weight could be divided into "
                + "blocks");
    }

    /// <summary>The largest divisor of an output's values that is wanted at most, of whole kernels where there are
    /// such.</summary>
    internal static int BlockOf(Shape weight, int pointwise, int linear, int kernels)
    {
        int taps = weight.Rank == 4 ? weight[2] * weight[3] : 1, row = (int)(weight.Length / weight[0]) / taps;
        int wanted = taps > 1 ? kernels : weight.Rank == 4 ? pointwise : linear;
        int most = wanted == 0 ? row : Math.Min(wanted, row);
        while (row % most != 0) most--;
        return most * taps;
    }
}
