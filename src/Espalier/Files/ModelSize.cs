using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Files;

/// <summary>Gives a network another size of its images.</summary>
internal static class ModelSize
{
    /// <summary>
    /// Makes the graph again for images of <paramref name="size"/> pixels a side. Position embeddings are stretched to the new
    /// grid of patches, see <see cref="PositionResize"/>; everything else must work for both sizes.
    /// </summary>
    /// <param name="kind">How positions are stretched.</param>
    /// <returns>The positions that were stretched, with both shapes.</returns>
    /// <exception cref="EspalierException">A layer is for one size only; the graph is of no use any more.</exception>
    public static List<string> Change(Graph graph, int size, PositionResizeKind kind, string source)
    {
        var resized = new List<string>();
        GraphValue images = graph.Inputs[0];
        images.Tensor = Tensor.Meta(images.Shape.With(2, size).With(3, size));
        try
        {
            foreach (GraphNode node in graph.Nodes)
                if (node.Op is AssembleTokensOp) Stretch(node);
                else Again(node);
            graph.Refresh();
            return resized;
        }
        catch (Exception e) when (e is ArgumentException or ArithmeticException)
        {
            throw new EspalierException($"{source}: is not for images of {size} pixels: {e.Message.ReplaceLineEndings(" ")}", e);
        }
        catch (EspalierException e)
        {
            throw new EspalierException($"{source}: {e.Message}", e);
        }

        void Stretch(GraphNode node)
        {
            GraphValue positions = node.Operands[1]!;
            int prefix = ((AssembleTokensOp)node.Op).Prefix, patches = node.Operands[0]!.Shape[0] / images.Shape[0];
            Shape before = positions.Shape;
            if (positions.IsWeight && before is { Rank: 3 } && before[1] != patches + prefix)
            {
                int grid = (int)Math.Sqrt(patches);
                if (grid * grid != patches) throw new ArgumentException($"{patches} patches are no square grid");
                float[] stretched = PositionResize.Run(positions.Tensor.Span, before[2], prefix, grid, kind);
                using Tensor other = Tensor.Unscoped(before.With(1, patches + prefix));
                stretched.CopyTo(other.Span);
                positions.Tensor.Exchange(other);
                resized.Add($"{positions.Name} {before} -> {positions.Shape}");
            }
            Again(node);
        }

        static void Again(GraphNode node) =>
            node.Op = Graph.Ran(node.Op.On([.. node.Operands.Select(o => o?.Tensor)]), node.Output);
    }
}
