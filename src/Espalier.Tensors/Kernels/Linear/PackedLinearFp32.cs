namespace Espalier.Tensors.Kernels;

/// <summary>A <see cref="PackedLinear"/> in single precision, by <see cref="Gemm"/>.</summary>
internal sealed unsafe class PackedLinearFp32(int outputs, int inputs, float* weights) : PackedLinear(outputs, inputs)
{
    private readonly PackedB packed = new(transB: true, outputs, inputs, weights, inputs);

    public override long Bytes => 4L * packed.K * Blocking.RoundUp(packed.N, packed.Tiles.Columns);

    public override void Run(int rows, float* x, int ldx, float* y, int ldy, in Epilogue epilogue) =>
        Gemm.Run(rows, Outputs, Inputs, x, ldx, packed, y, ldy, epilogue);

    public override void Dispose() => packed.Dispose();
}
