namespace Espalier.Tensors.Kernels;

/// <summary>A <see cref="PackedLinear"/> in single precision as a 1 x 1 convolution over its rows, by <see cref="ConvTile"/>: the
/// rows are read where they lie, so that none are packed.</summary>
internal sealed unsafe class PackedLinearDirect(int outputs, int inputs, float* weights, ConvTile tile)
    : PackedLinear(outputs, inputs)
{
    private readonly DirectConv conv =
        new(inputs, outputs, groups: 1, weights, bias: null, new ConvShape(1, 1, 1, default), tile);

    public override long Bytes => conv.Bytes;

    public override void Run(int rows, float* x, int ldx, float* y, int ldy, in Epilogue epilogue)
    {
        if (epilogue.Gelu && (epilogue.Accumulate || epilogue.Residual == y))
            throw new ArgumentException("a linear layer cannot combine GELU with adding to y");
        if (rows > 0) conv.RunRows(rows, x, ldx, y, ldy, epilogue);
    }

    public override void Dispose() => conv.Dispose();
}
