using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// Random weights for a network whose shape pruning has found: the baseline that a pruned network is held against is the same
/// shape trained from scratch (Liu et al., arXiv 1810.05270).
/// </summary>
public static class FreshWeights
{
    /// <summary>
    /// Draws every convolution by He's rule (fan out), every linear layer as PyTorch does, or by Xavier's rule in a transformer,
    /// and tokens as ViT does; sets norms back to scale 1, shift 0 and fresh statistics. Shapes stay as they are.
    /// </summary>
    public static void Fill(Graph graph, ulong seed)
    {
        var rng = new Rng(seed, key0: 1);
        bool transformer = graph.Nodes.Any(n => n.Op is AttentionOp);
        foreach (GraphNode node in graph.Nodes)
        {
            // Kernels of patches reach their product as a matrix, those of a hybrid stem standardised.
            Tensor? Of(int operand)
            {
                GraphValue? value = node.Operands.ElementAtOrDefault(operand);
                while (value is { Producer.Op: ReshapeOp or PermuteOp or WeightStandardiseOp }) value = value.Producer!.Operands[0];
                return value is { IsWeight: true } weight ? weight.Tensor : null;
            }
            switch (node.Op)
            {
                case Conv2dOp when Of(1) is { } weight:
                    Init.KaimingNormal(weight, ref rng, fanOut: true);
                    Of(2)?.Fill(0);
                    break;
                case LinearOp when Of(1) is { } weight && transformer:
                    Init.XavierUniform(weight, ref rng);
                    Of(2)?.Fill(0);
                    break;
                case LinearOp when Of(1) is { } weight:
                    Init.DefaultLinear(weight, Of(2), ref rng);
                    break;
                case AssembleTokensOp:
                    for (int i = 1; i < node.Operands.Count; i++) if (Of(i) is { } tokens) Init.Normal(tokens, 0.02f, ref rng);
                    break;
                case BatchNorm2dOp or LayerNormOp or GroupNormOp:
                    Of(1)?.Fill(1);
                    Of(2)?.Fill(0);
                    Of(3)?.Fill(0);
                    Of(4)?.Fill(1);
                    break;
            }
        }
    }
}
