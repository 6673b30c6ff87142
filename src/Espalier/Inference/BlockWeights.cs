using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>A linear layer ready to run: packed weights and the bias, which the product's store adds.</summary>
internal sealed unsafe class PackedLayer(PackedLinear weights, Tensor bias) : IDisposable
{
    public long Bytes => weights.Bytes + sizeof(float) * bias.Length;

    /// <summary>y [rows, out] = x Wᵀ + b, then GELU, or plus <paramref name="residual"/>, which may be y and has its rows' distance.
    /// </summary>
    public void Run(int rows, float* x, int ldx, float* y, int ldy, bool gelu = false, float* residual = null) =>
        weights.Run(rows, x, ldx, y, ldy, new Epilogue { Bias = bias.Data, Gelu = gelu, Residual = residual, LdResidual = ldy });

    public void Dispose()
    {
        weights.Dispose();
        bias.Dispose();
    }
}

/// <summary>Weight and bias of a layer norm.</summary>
internal sealed unsafe class NormWeights(Tensor weight, Tensor bias) : IDisposable
{
    public void Run(int rows, int width, float* x, float* y) =>
        LayerNorm.Forward(x, weight.Data, bias.Data, VisionTransformer.NormEpsilon, rows, width, y);

    public void Dispose()
    {
        weight.Dispose();
        bias.Dispose();
    }
}

/// <summary>The weights of one encoder block.</summary>
/// <param name="query">Apart from key and value where only the prefix rows ask, else null.</param>
/// <param name="mix">Query, key and value in one product [rows, 3D], or key and value [rows, 2D].</param>
internal sealed class BlockWeights(
    NormWeights attentionNorm, PackedLayer? query, PackedLayer mix, PackedLayer output, NormWeights mlpNorm, PackedLayer fc1,
    PackedLayer fc2) : IDisposable
{
    public NormWeights AttentionNorm => attentionNorm;

    public PackedLayer? Query => query;

    public PackedLayer Mix => mix;

    public PackedLayer Output => output;

    public NormWeights MlpNorm => mlpNorm;

    public PackedLayer Fc1 => fc1;

    public PackedLayer Fc2 => fc2;

    public long Bytes => (query?.Bytes ?? 0) + mix.Bytes + output.Bytes + fc1.Bytes + fc2.Bytes;

    public void Dispose()
    {
        attentionNorm.Dispose();
        query?.Dispose();
        mix.Dispose();
        output.Dispose();
        mlpNorm.Dispose();
        fc1.Dispose();
        fc2.Dispose();
    }
}
