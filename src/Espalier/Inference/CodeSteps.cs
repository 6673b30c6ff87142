using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>A convolution of codes with all that follows it.</summary>
internal sealed unsafe class CodesConvStep : Step
{
    private readonly CodesConv conv;
    private readonly NativeFloats scales;
    private readonly Map x;
    private readonly Place from, to;
    private readonly Place? residual;
    private readonly CodeStep? residualCodes, result;
    private readonly CodesEpilogue ends;

    /// <param name="scales">[outputs]: what a unit of the sums stands for.</param>
    public CodesConvStep(CodesConv conv, ConvLayer layer, NativeFloats scales, Place from, Place to, Place? residual)
    {
        (this.conv, this.scales, x, this.from, this.to, this.residual) = (conv, scales, layer.Input, from, to, residual);
        (residualCodes, result) = (layer.Residual?.Codes, layer.Output.Codes);
        ends = new CodesEpilogue
        {
            Activation = layer.Activation, After = layer.After, Mid = layer.Mid ?? default, ResidualStep = residualCodes ?? default,
            LdResidual = residual?.Stride ?? 0, Ldy = to.Stride, Step = result ?? default,
            HasRoom = layer.Filters.Groups is var g && (g == 1 || g == layer.Filters.Outputs)
                && to.Stride >= Map.BytesOfCodes(layer.Output.Channels)
                && to.Stride % ConvTile.Lanes == 0,
        };
        // What rounding cuts off in any case.
        if (ends.Mid.Scale == 0 && residual is null && IsCut(ends.Activation)) ends.Activation = Activation.None;
        if (IsCut(ends.After)) ends.After = Activation.None;
        if (ends is { Mid.Scale: not 0, ResidualStep.Scale: not 0, Step.Scale: not 0, First.Scale: not 0, After: Activation.None })
            ends.Sum = CodeSum.Of(ends.Mid, ends.ResidualStep, ends.Step, !layer.ResidualFirst);
        if (ends.First is { Scale: not 0 } first) for (nint o = 0; o < scales.Length; o++) scales.Data[o] /= first.Scale;
        ends.Scale = scales.Data;
        ends.InTile = ends.IsForTile(layer.Filters.Outputs);
    }

    public override long Bytes => conv.Bytes;

    public override void Run(Lane lane)
    {
        CodesEpilogue epilogue = ends;
        if (result is null) epilogue.Floats = to.In(lane);
        else epilogue.Codes = to.CodesIn(lane);
        if (residual is { } r)
        {
            if (residualCodes is null) epilogue.ResidualFloats = r.In(lane);
            else epilogue.ResidualCodes = r.CodesIn(lane);
        }
        conv.Run(lane.Images, x.Height, x.Width, from.CodesIn(lane), from.Stride, epilogue);
    }

    public override void Dispose()
    {
        conv.Dispose();
        scales.Dispose();
    }

    private bool IsCut(Activation activation) => result is { } step && step.Least >= 0
        && (activation == Activation.Relu || (activation == Activation.Relu6 && step.Most * step.Scale < 6 + 0.49f * step.Scale));
}

/// <summary>Floats to codes, codes to floats, or floats to those that codes stand for.</summary>
internal sealed unsafe class RoundingStep(Layer layer, Place from, Place to) : Step
{
    private readonly Map x = layer.Input;
    private readonly bool toCodes = layer.Output.Codes is not null, toFloats = layer is DequantiseLayer;
    private readonly CodeStep step = layer is QuantiseLayer q ? q.Step : layer.Input.Codes!.Value;

    public override void Run(Lane lane)
    {
        int pixels = lane.Rows(x), channels = x.Channels;
        if (toFloats) CodePasses.ToFloats(pixels, channels, from.CodesIn(lane), from.Stride, step, to.In(lane), to.Stride);
        else if (toCodes) CodePasses.ToCodes(pixels, channels, from.In(lane), from.Stride, step, to.CodesIn(lane), to.Stride);
        else CodePasses.Rounded(pixels, channels, from.In(lane), from.Stride, step, to.In(lane), to.Stride);
    }
}

/// <summary>Pictures on their way in, where nobody but a rounding to codes wants them: see <see cref="PlanesToCodes"/>.</summary>
internal sealed unsafe class ImageCodes(QuantiseLayer layer, Place to)
{
    private readonly Map x = layer.Input;
    private readonly CodeStep step = layer.Step;

    /// <summary>The rounding that this can take the place of; null for none.</summary>
    public static QuantiseLayer? LayerOf(NetGraph net, Reading input) =>
        input.Spatial && net.Input.Axis is null && net.Input.Channels <= PlanesToCodes.MostChannels
            && net.Input.Readers is [QuantiseLayer { Output.Codes: not null, Output.Stride: sizeof(int) } q] && !net.Outputs.Contains(net.Input)
            ? q : null;

    public void Run(Lane lane, float* images) =>
        PlanesToCodes.Run(lane.Images, x.Channels, x.Pixels, images, step, to.CodesIn(lane));
}

internal sealed unsafe class MaxCodesStep(PoolLayer layer, Place from, Place to) : Step
{
    private readonly int channels = layer.Input.Channels;
    private readonly Window window =
        new(layer.Input.Height, layer.Input.Width, layer.Kernel, layer.Kernel, layer.Stride, 1, layer.Padding);

    public override void Run(Lane lane) =>
        CodePasses.Max(lane.Images, window, channels, from.CodesIn(lane), from.Stride, to.CodesIn(lane), to.Stride);
}

internal sealed unsafe class MeanCodesStep(Map x, CodeStep step, CodeStep? result, Place from, Place to) : Step
{
    public override void Run(Lane lane)
    {
        byte* codes = from.CodesIn(lane);
        if (result is { } rounded)
            CodePasses.Mean(lane.Images, x.Pixels, x.Channels, codes, from.Stride, step, to.CodesIn(lane), to.Stride, rounded);
        else CodePasses.Mean(lane.Images, x.Pixels, x.Channels, codes, from.Stride, step, to.In(lane), to.Stride);
    }
}
