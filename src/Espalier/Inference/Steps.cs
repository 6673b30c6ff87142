using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>A layer that knows its weights and where its maps are. It is not changed by running, so that several threads may run
/// it at once, each in a lane of its own.</summary>
internal abstract unsafe class Step : IDisposable
{
    public virtual long Bytes => 0;

    public abstract void Run(Lane lane);

    public virtual void Dispose()
    {
    }
}

internal sealed unsafe class ConvStep(PackedConv conv, Map x, Place from, Place to, Place? residual, Activation activation,
    NativeFloats? inputScale, NativeFloats? inputShift) : Step
{
    public override long Bytes => conv.Bytes;

    public override void Run(Lane lane)
    {
        var epilogue = new ConvEpilogue
        {
            Activation = activation,
            Residual = residual is { } r ? r.In(lane) : null,
            LdResidual = residual is { } s ? s.Stride : 0,
            InputScale = inputScale is null ? null : inputScale.Data,
            InputShift = inputShift is null ? null : inputShift.Data,
        };
        // Token rows are one long line of pixels.
        var (images, height, width) = x.Axis is null ? (lane.Images, x.Height, x.Width) : (1, 1, lane.Rows(x));
        conv.Run(images, height, width, from.In(lane), from.Stride, to.In(lane), to.Stride, epilogue);
    }

    public override void Dispose()
    {
        conv.Dispose();
        inputScale?.Dispose();
        inputShift?.Dispose();
    }
}

/// <summary>y = activation(scale · x + shift + residual).</summary>
internal sealed unsafe class PassStep(Map x, Place from, Place to, Place? residual, NativeFloats? scale, NativeFloats? shift,
    Activation activation) : Step
{
    public override void Run(Lane lane) => NhwcPass.Affine(
        lane.Rows(x), x.Channels, from.In(lane), from.Stride,
        scale is null ? null : scale.Data, shift is null ? null : shift.Data,
        residual is { } r ? r.In(lane) : null, residual is { } s ? s.Stride : 0,
        activation, to.In(lane), to.Stride);

    public override void Dispose()
    {
        scale?.Dispose();
        shift?.Dispose();
    }
}

internal sealed unsafe class ScaleStep(Map x, Place from, Place scale, Place to) : Step
{
    public override void Run(Lane lane) => NhwcPass.ChannelScale(
        lane.Images, x.Pixels, x.Channels, from.In(lane), from.Stride, scale.In(lane), scale.Stride,
        to.In(lane), to.Stride);
}

internal sealed unsafe class PoolStep(PoolLayer layer, Place from, Place to) : Step
{
    private readonly bool isMax = layer.IsMax, countsPadding = layer.CountsPadding;
    private readonly int channels = Math.Min(layer.Input.Writable, layer.Output.Writable);
    private readonly Window window =
        new(layer.Input.Height, layer.Input.Width, layer.Kernel, layer.Kernel, layer.Stride, 1, layer.Padding);

    public override void Run(Lane lane)
    {
        float* x = from.In(lane), y = to.In(lane);
        if (isMax) NhwcPooling.Max(lane.Images, window, channels, x, from.Stride, y, to.Stride);
        else NhwcPooling.Average(lane.Images, window, channels, x, from.Stride, y, to.Stride, countsPadding);
    }
}

internal sealed unsafe class MeanStep(Map x, Place from, Place to) : Step
{
    public override void Run(Lane lane) => NhwcPooling.GlobalMean(
        lane.Images, x.Pixels, x.Channels, from.In(lane), from.Stride, to.In(lane), to.Stride);
}

/// <summary>Moves channels to other places.</summary>
internal sealed unsafe class MoveStep(Map x, Place from, Place to, ChannelMoves moves) : Step
{
    public override void Run(Lane lane) =>
        moves.Run(lane.Rows(x), from.In(lane), from.Stride, to.In(lane), to.Stride);

    public override void Dispose() => moves.Dispose();
}

/// <summary>Gives some channels constant values.</summary>
internal sealed unsafe class FillStep(Map x, Place to, NativeFloats values, ChannelMoves moves) : Step
{
    public override void Run(Lane lane) =>
        moves.Run(lane.Rows(x), values.Data, 0, to.In(lane), to.Stride);

    public override void Dispose()
    {
        values.Dispose();
        moves.Dispose();
    }
}
