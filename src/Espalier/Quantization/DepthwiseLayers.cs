using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>
/// Convolutions of each channel by itself. Their channels differ most in range and none makes up for another, so that rounding
/// takes networks of them apart first, mostly with one scale for all.
/// </summary>
internal static class DepthwiseLayers
{
    /// <summary>The share of same answers that a rounded network with such layers has at least, if it is to be used.</summary>
    public const double LeastAgreement = 0.95;

    public static int Count(Graph graph) =>
        graph.Nodes.Count(n => n.Op is Conv2dOp { Groups: > 1 } && n.Operands[1]!.Shape[1] == 1);

    /// <param name="sameAnswer">Share of the images with the answer of the float network.</param>
    public static bool AreLost(Graph graph, double sameAnswer) => sameAnswer < LeastAgreement && Count(graph) > 0;
}
