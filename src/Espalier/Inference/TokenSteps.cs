using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Inference;

/// <summary>A linear layer on token rows: y = gelu(x Wᵀ + b) or x Wᵀ + b + residual, which may be y.</summary>
internal sealed unsafe class ProductStep(
    PackedLinear weights, NativeFloats bias, Map x, Place from, Place to, Place? residual, bool gelu, float quick) : Step
{
    public override long Bytes => weights.Bytes + sizeof(float) * bias.Length;

    public override void Run(Lane lane)
    {
        var epilogue = new Epilogue
        {
            Bias = bias.Data, Gelu = gelu, Quick = quick,
            Residual = residual is { } r ? r.In(lane) : null, LdResidual = residual is { } s ? s.Stride : 0,
        };
        weights.Run(lane.Rows(x), from.In(lane), from.Stride, to.In(lane), to.Stride, epilogue);
    }

    public override void Dispose()
    {
        weights.Dispose();
        bias.Dispose();
    }
}

/// <summary>A kernel for rows without gaps between them. Where there are gaps it does row by row.</summary>
internal abstract unsafe class RowsStep(Map x, int channels, Place from, Place to) : Step
{
    protected int Channels => channels;

    public override void Run(Lane lane)
    {
        float* a = from.In(lane), b = to.In(lane);
        int rows = lane.Rows(x);
        if (from.Stride == channels && to.Stride == channels)
        {
            Rows(rows, a, b);
            return;
        }
        for (nint row = 0; row < rows; row++) Rows(1, a + row * from.Stride, b + row * to.Stride);
    }

    protected abstract void Rows(int rows, float* x, float* y);
}

/// <param name="size">Channels that are normalised together: all, or those of a head.</param>
internal sealed unsafe class LayerNormStep(Map x, Place from, Place to, NativeFloats gamma, NativeFloats beta, float epsilon, int size, int width)
    : RowsStep(x, x.Channels, from, to)
{
    protected override void Rows(int rows, float* x, float* y) =>
        LayerNorm.Forward(x, gamma.Data, beta.Data, epsilon, rows * (Channels / size), size, y, width: width);

    public override void Dispose()
    {
        gamma.Dispose();
        beta.Dispose();
    }
}

internal sealed unsafe class SoftmaxStep(Map x, Place from, Place to) : RowsStep(x, x.Channels, from, to)
{
    protected override void Rows(int rows, float* x, float* y) => Softmax.Forward(x, y, rows, Channels);
}

/// <summary>GELU, also of what lies between the pixels where nobody looks.</summary>
internal sealed unsafe class GeluStep(GeluLayer layer, Place from, Place to)
    : RowsStep(layer.Input, Math.Min(layer.Input.Writable, layer.Output.Writable), from, to)
{
    protected override void Rows(int rows, float* x, float* y) => Gelu.Forward(x, y, (nint)rows * Channels, layer.Quick);
}

internal sealed unsafe class GroupNormStep(GroupNormLayer layer, Place from, Place to, NativeFloats gamma, NativeFloats beta)
    : Step
{
    private readonly NhwcGroupNorm kernel =
        new(layer.Input.Pixels, layer.Input.Channels, layer.Groups, layer.Epsilon, layer.Activation);

    public override void Run(Lane lane) =>
        kernel.Run(lane.Images, from.In(lane), from.Stride, gamma.Data, beta.Data, to.In(lane), to.Stride);

    public override void Dispose()
    {
        gamma.Dispose();
        beta.Dispose();
    }
}

/// <summary>Prefix tokens in front of each image's patches, and the table added to all.</summary>
internal sealed unsafe class AssembleStep(Map patches, Map tokens, Place from, Place to, NativeFloats table) : Step
{
    private readonly int prefix = tokens.Pixels - patches.Pixels;

    public override void Run(Lane lane) => Workers.For(lane.Images, Grain.For(2L * tokens.Pixels * tokens.Channels), new Job(
        patches.Pixels, prefix, tokens.Channels, table.Data, from.In(lane), from.Stride, to.In(lane), to.Stride));

    public override void Dispose() => table.Dispose();

    private readonly struct Job(int patches, int prefix, int width, float* table, float* x, nint ldx, float* y, nint ldy)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (nint b = start; b < end; b++)
            {
                float* from = x + b * patches * ldx, to = y + b * (patches + prefix) * ldy;
                for (int t = 0; t < prefix; t++) Row(table + (nint)t * width).CopyTo(new Span<float>(to + t * ldy, width));
                to += prefix * ldy;
                for (nint t = 0; t < patches; t++)
                {
                    var target = new Span<float>(to + t * ldy, width);
                    TensorPrimitives.Add(Row(table + (prefix + t) * width), Row(from + t * ldx), target);
                }
            }
        }

        private ReadOnlySpan<float> Row(float* row) => new(row, width);
    }
}

/// <summary>Each row with a vector of its image, plus a number of its image.</summary>
internal sealed unsafe class RowDotStep(Map x, Place from, Place vectors, Place? biases, Place to) : Step
{
    public override void Run(Lane lane)
    {
        int* starts = lane.Starts(x.Axis!);
        int channels = x.Channels;
        float* rows = from.In(lane), results = to.In(lane);
        for (int b = 0; b < lane.Images; b++)
        {
            var vector = new ReadOnlySpan<float>(vectors.In(lane) + (nint)b * vectors.Stride, channels);
            float bias = biases is { } p ? p.In(lane)[(nint)b * p.Stride] : 0;
            for (nint row = starts[b]; row < starts[b + 1]; row++)
            {
                var values = new ReadOnlySpan<float>(rows + row * from.Stride, channels);
                results[row * to.Stride] = bias + TensorPrimitives.Dot(vector, values);
            }
        }
    }
}
