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

/// <summary>y = activation(scale · x + shift + residual). Pixels of few channels, such as scores, are done many at once.</summary>
internal sealed unsafe class PassStep : Step
{
    /// <summary>Channels of pixels that are done together at least: whole vectors of any processor.</summary>
    private const int Wide = 64;

    private readonly Map x;
    private readonly Place from, to;
    private readonly Place? residual;
    private readonly NativeFloats? scale, shift;
    private readonly Activation activation;
    private readonly int together;

    /// <param name="scale">[channels]; null for ones, where <paramref name="shift"/> is null too.</param>
    public PassStep(Map x, Place from, Place to, Place? residual, float[]? scale, float[]? shift, Activation activation)
    {
        (this.x, this.from, this.to, this.residual, this.activation) = (x, from, to, residual, activation);
        bool gaps = from.Stride != x.Channels || to.Stride != x.Channels || (residual ?? to).Stride != x.Channels;
        together = gaps || x.Channels >= Wide ? 1 : Wide / x.Channels;
        (this.scale, this.shift) = (Repeated(scale), Repeated(shift));
    }

    public override void Run(Lane lane)
    {
        int pixels = lane.Rows(x), groups = pixels / together, rest = pixels % together;
        float* a = from.In(lane), b = to.In(lane), r = residual is { } place ? place.In(lane) : null;
        Pass(groups, together, a, r, b);
        nint done = (nint)groups * together * x.Channels;
        if (rest > 0) Pass(1, rest, a + done, r == null ? null : r + done, b + done);
    }

    /// <summary>So many times several pixels at once.</summary>
    private void Pass(int count, int pixels, float* a, float* r, float* b) => NhwcPass.Affine(
        count, pixels * x.Channels, a, pixels * from.Stride, scale is null ? null : scale.Data, shift is null ? null : shift.Data,
        r, pixels * (residual ?? to).Stride, activation, b, pixels * to.Stride);

    private NativeFloats? Repeated(float[]? values)
    {
        if (values is null) return null;
        var all = new NativeFloats(together * (nint)values.Length);
        for (int i = 0; i < together; i++) values.CopyTo(new Span<float>(all.Data + (nint)i * values.Length, values.Length));
        return all;
    }

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

/// <summary>Moves channels to other places, with constant values between them.</summary>
internal sealed unsafe class SpreadStep(Map y, Place from, Place to, ChannelSpread spread) : Step
{
    public override void Run(Lane lane) => spread.Run(lane.Rows(y), from.In(lane), from.Stride, to.In(lane), to.Stride);

    public override void Dispose() => spread.Dispose();
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
