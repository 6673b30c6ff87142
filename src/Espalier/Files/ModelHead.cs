using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Files;

/// <summary>The layers of a graph that make its logits: one linear layer or 1x1 convolution, or DeiT's two whose mean is
/// taken.</summary>
internal static class ModelHead
{
    /// <summary>The nodes, walking back from the output over what works on each logit alone.</summary>
    /// <exception cref="EspalierException">Something else makes the logits.</exception>
    public static List<GraphNode> Find(Graph graph, string source)
    {
        var found = new List<GraphNode>();
        var seen = new HashSet<GraphValue>();
        var open = new Stack<GraphValue>([graph.Outputs[0]]);
        while (open.TryPop(out GraphValue? value))
        {
            if (value.IsWeight || !seen.Add(value)) continue;
            switch (value.Producer)
            {
                case { Op: LinearOp or MatMulOp or Conv2dOp { Groups: 1 } } node when node.Operands[1] is { IsWeight: true }:
                    found.Add(node);
                    break;
                case { Op: BinaryOp or UnaryOp or AffineOp or DropoutOp or ReshapeOp or GlobalAvgPool2dOp or AvgPool2dOp or MeanOp
                    or SoftmaxOp or LogSoftmaxOp } node:
                    foreach (GraphValue input in node.Inputs) open.Push(input);
                    break;
                default:
                    throw new EspalierException($"{source}: its head cannot be replaced: the logits come of "
                        + $"{value.Producer?.ToString() ?? value.Name}, which is no linear layer");
            }
        }
        return found;
    }

    /// <summary>
    /// DeiT's two heads, of whose logits the mean is taken (arXiv 2012.12877, section 4): that of the class token, and that of the
    /// distillation token. Null of any other network.
    /// </summary>
    public static GraphValue[]? Pair(Graph graph)
    {
        GraphValue logits = graph.Outputs[0];
        bool isMean = logits.Producer is { Op: AffineOp { Scale: 0.5f, Shift: 0 } } half && half.Operands[0]!.Producer is
            { Op: AddOp } sum && sum.Inputs.All(i => i.Producer?.Op is LinearOp && i.Shape == logits.Shape);
        return isMean ? [.. logits.Producer!.Operands[0]!.Producer!.Inputs] : null;
    }

    /// <summary>Weights and biases of the head.</summary>
    public static IEnumerable<GraphValue> Weights(IEnumerable<GraphNode> head) =>
        head.SelectMany(n => n.Inputs.Where(i => i.IsWeight));

    /// <summary>
    /// Gives the head another number of classes and fresh weights: zero in a transformer (arXiv 2010.11929), else as PyTorch
    /// begins, uniform within ±1/sqrt(inputs).
    /// </summary>
    /// <exception cref="EspalierException">Something else makes the logits; the graph is as it was.</exception>
    public static void Replace(Graph graph, int classes, ulong seed, string source)
    {
        List<GraphNode> head = Find(graph, source);
        bool zero = graph.Nodes.Any(n => n.Op is AssembleTokensOp);
        var rng = new Rng(seed, key0: 3);
        foreach (GraphNode node in head)
        {
            int axis = node.Op is MatMulOp { TransposeB: false } ? 1 : 0;
            Tensor weight = node.Operands[1]!.Tensor;
            using Tensor fresh = Tensor.Unscoped(weight.Shape.With(axis, classes));
            using Tensor? bias = node.Operands.ElementAtOrDefault(2) is { IsWeight: true }
                ? Tensor.Unscoped(new Shape(classes)) : null;
            float bound = 1 / MathF.Sqrt(weight.Length / weight.Shape[axis]);
            foreach (Tensor? t in new[] { fresh, bias })
            {
                if (zero) t?.Fill(0);
                else if (t is not null) Init.Uniform(t, -bound, bound, ref rng);
            }
            weight.Exchange(fresh);
            if (bias is not null) node.Operands[2]!.Tensor.Exchange(bias);
        }
        // A bias that is added for itself.
        foreach (GraphNode node in graph.Nodes.Where(n => n.Op is AddOp))
        {
            if (!node.Inputs.Any(i => i.Producer is { } p && head.Contains(p))) continue;
            if (node.Inputs.FirstOrDefault(i => i is { IsWeight: true, Shape.Rank: > 0 }) is not { } bias) continue;
            if (bias.Shape[-1] == 1) continue;
            using Tensor zeros = Tensor.Unscoped(bias.Shape.With(-1, classes));
            zeros.Fill(0);
            bias.Tensor.Exchange(zeros);
        }
        graph.Refresh();
    }
}
