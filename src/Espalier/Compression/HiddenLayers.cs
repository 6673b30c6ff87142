using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>The layers whose rows are the hidden units of a block's MLP: one, or of a gated MLP both whose results are multiplied.
/// </summary>
internal static class HiddenLayers
{
    public static IReadOnlyList<GraphNode> Of(TransformerBlock block)
    {
        var layers = new List<GraphNode>();
        Add(block.Fc2.Operands[0]!);
        return layers;

        void Add(GraphValue value)
        {
            if (value.Producer is not { } node || node == block.MlpNorm || layers.Contains(node)) return;
            if (node.Op is LinearOp) layers.Add(node);
            else foreach (GraphValue input in node.Inputs.Where(x => !x.IsWeight)) Add(input);
        }
    }
}
