using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Operations of a layer as the Taylor paper counts them (Molchanov et al., arXiv 1611.06440, appendix A.1): 2 H W (C_in k² + 1)
/// C_out for a convolution, (2 I - 1) O for a linear layer, for one image.
/// </summary>
internal static class LayerFlops
{
    /// <summary>0 for what is neither.</summary>
    public static double Of(Op op) => op switch
    {
        Conv2dOp => 2.0 * op.Output.Length / op.Output.Shape[0] * (op.Inputs[1].Length / op.Inputs[1].Shape[0] + 1),
        LinearOp => (double)op.Output.Length / op.Output.Shape[0] * (2 * op.Inputs[1].Shape[1] - 1),
        _ => 0,
    };
}
