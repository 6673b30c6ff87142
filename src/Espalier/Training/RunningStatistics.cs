using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>The running means and variances of batch norms: what a training pass changes beside gradients.</summary>
internal static class RunningStatistics
{
    /// <summary>Those of a network's batch norms, or of the ones that are asked for.</summary>
    public static IEnumerable<Tensor> Of(Graph graph, Func<GraphNode, bool>? wanted = null) => graph.Nodes
        .Where(n => n.Op is BatchNorm2dOp && (wanted is null || wanted(n))).SelectMany(n => n.Operands.Skip(3)).Select(o => o!.Tensor);
}
