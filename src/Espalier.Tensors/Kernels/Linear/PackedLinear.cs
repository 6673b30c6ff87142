namespace Espalier.Tensors.Kernels;

/// <summary>A linear layer at inference, y = epilogue(x Wᵀ): its weights are packed once for the kernel that reads them. Native
/// memory; the owner disposes it. Running allocates nothing managed, and several threads may use one at once.</summary>
internal abstract unsafe class PackedLinear(int outputs, int inputs) : IDisposable
{
    /// <summary>Columns of x.</summary>
    public int Inputs { get; } = inputs;

    /// <summary>Columns of y.</summary>
    public int Outputs { get; } = outputs;

    /// <summary>Bytes that the packed weights take.</summary>
    public abstract long Bytes { get; }

    /// <summary>Packs weights [<paramref name="outputs"/>, <paramref name="inputs"/>], row-major without gaps.</summary>
    /// <exception cref="EspalierException">This processor has no kernel for the precision.</exception>
    public static PackedLinear Create(Precision precision, int outputs, int inputs, float* weights) => precision switch
    {
        Precision.Fp32 when KernelInfo.Tiles == TileSet.Avx512 && ConvTile.Instance is { } tile =>
            new PackedLinearDirect(outputs, inputs, weights, tile),
        Precision.Fp32 => new PackedLinearFp32(outputs, inputs, weights),
        Precision.Bf16 when DotKernels.Bf16.Tile is { } tile => new PackedLinearBf16(outputs, inputs, weights, tile),
        Precision.Int8 when DotKernels.Int8.Tile is { } tile => new PackedLinearInt8(outputs, inputs, weights, tile),
        _ => throw new EspalierException(KernelInfo.For(precision).Reason),
    };

    /// <summary>y [rows, Outputs] = epilogue(x [rows, Inputs] Wᵀ), the rows split over the workers.</summary>
    /// <param name="ldx">Distance between the rows of x; <paramref name="ldy"/> of y and of what the epilogue stores.</param>
    /// <param name="epilogue">Low precision takes bias, GELU and residual only, and there the residual may be y.</param>
    public abstract void Run(int rows, float* x, int ldx, float* y, int ldy, in Epilogue epilogue);

    public abstract void Dispose();
}
