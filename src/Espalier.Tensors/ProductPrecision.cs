using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// In which numbers linear layers on this thread multiply while it is open, in both directions: <c>using (ProductPrecision.Of(
/// Precision.Bf16)) ...</c>. With <see cref="Precision.Bf16"/> what goes into a product is rounded to bfloat16 and summed in float32
/// (Micikevicius et al., arXiv 1710.03740; bfloat16 has float32's range, so that losses need no scaling). Weights, gradients and all
/// other ops stay float32. Products that are small stay so, too.
/// </summary>
public static class ProductPrecision
{
    [ThreadStatic]
    private static DotTile? tile;

    /// <summary>What the products of an op that is made now run by; null for float32.</summary>
    internal static DotTile? Tile => tile;

    /// <exception cref="EspalierException">This processor has no products of that kind, or there are none in training.</exception>
    public static Block Of(Precision precision)
    {
        var block = new Block(tile);
        tile = precision switch
        {
            Precision.Fp32 => null,
            Precision.Bf16 => DotKernels.Bf16.Tile ?? throw new EspalierException($"no bf16 products: {DotKernels.Bf16.Reason}"),
            _ => throw new EspalierException($"products of training are of {Precision.Fp32} or {Precision.Bf16}, not {precision}"),
        };
        return block;
    }

    /// <summary>With any tile, for tests.</summary>
    internal static Block By(DotTile by)
    {
        var block = new Block(tile);
        tile = by;
        return block;
    }

    /// <summary>Ends when it is disposed.</summary>
    public readonly struct Block : IDisposable
    {
        private readonly DotTile? outer;

        internal Block(DotTile? outer) => this.outer = outer;

        public void Dispose() => tile = outer;
    }
}
