using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>A layer that knows its weights and where its maps are. It is not changed by running, so that several threads may run
/// it at once, each in memory of its own.</summary>
internal abstract unsafe class Step : IDisposable
{
    public virtual long Bytes => 0;

    /// <param name="arena">Room for so many images, see <see cref="Arena"/>.</param>
    public abstract void Run(float* arena, int images);

    public virtual void Dispose()
    {
    }
}

internal sealed unsafe class ConvStep(PackedConv conv, Map x, Place from, Place to, Place? residual, Activation activation,
    NativeFloats? inputScale, NativeFloats? inputShift) : Step
{
    private readonly int height = x.Height, width = x.Width;

    public override long Bytes => conv.Bytes;

    public override void Run(float* arena, int images)
    {
        var epilogue = new ConvEpilogue
        {
            Activation = activation,
            Residual = residual is { } r ? r.In(arena, images) : null,
            LdResidual = residual is { } s ? s.Stride : 0,
            InputScale = inputScale is null ? null : inputScale.Data,
            InputShift = inputShift is null ? null : inputShift.Data,
        };
        conv.Run(images, height, width, from.In(arena, images), from.Stride, to.In(arena, images), to.Stride, epilogue);
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
    private readonly int pixels = x.Pixels, channels = x.Channels;

    public override void Run(float* arena, int images) => NhwcPass.Affine(
        images * pixels, channels, from.In(arena, images), from.Stride,
        scale is null ? null : scale.Data, shift is null ? null : shift.Data,
        residual is { } r ? r.In(arena, images) : null, residual is { } s ? s.Stride : 0,
        activation, to.In(arena, images), to.Stride);

    public override void Dispose()
    {
        scale?.Dispose();
        shift?.Dispose();
    }
}

internal sealed unsafe class ScaleStep(Map x, Place from, Place scale, Place to) : Step
{
    private readonly int pixels = x.Pixels, channels = x.Channels;

    public override void Run(float* arena, int images) => NhwcPass.ChannelScale(
        images, pixels, channels, from.In(arena, images), from.Stride, scale.In(arena, images), scale.Stride,
        to.In(arena, images), to.Stride);
}

internal sealed unsafe class PoolStep(PoolLayer layer, Place from, Place to) : Step
{
    private readonly bool isMax = layer.IsMax, countsPadding = layer.CountsPadding;
    private readonly int channels = Math.Min(layer.Input.Writable, layer.Output.Writable);
    private readonly Window window =
        new(layer.Input.Height, layer.Input.Width, layer.Kernel, layer.Kernel, layer.Stride, 1, layer.Padding);

    public override void Run(float* arena, int images)
    {
        float* x = from.In(arena, images), y = to.In(arena, images);
        if (isMax) NhwcPooling.Max(images, window, channels, x, from.Stride, y, to.Stride);
        else NhwcPooling.Average(images, window, channels, x, from.Stride, y, to.Stride, countsPadding);
    }
}

internal sealed unsafe class MeanStep(Map x, Place from, Place to) : Step
{
    private readonly int pixels = x.Pixels, channels = x.Channels;

    public override void Run(float* arena, int images) => NhwcPooling.GlobalMean(
        images, pixels, channels, from.In(arena, images), from.Stride, to.In(arena, images), to.Stride);
}

/// <summary>Moves channels to other places.</summary>
internal sealed unsafe class MoveStep(int pixels, Place from, Place to, ChannelMoves moves) : Step
{
    public override void Run(float* arena, int images) =>
        moves.Run(images * pixels, from.In(arena, images), from.Stride, to.In(arena, images), to.Stride);

    public override void Dispose() => moves.Dispose();
}

/// <summary>Gives some channels constant values.</summary>
internal sealed unsafe class FillStep(int pixels, Place to, NativeFloats values, ChannelMoves moves) : Step
{
    public override void Run(float* arena, int images) =>
        moves.Run(images * pixels, values.Data, 0, to.In(arena, images), to.Stride);

    public override void Dispose()
    {
        values.Dispose();
        moves.Dispose();
    }
}
