using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// 2-D convolution (cross-correlation, as in PyTorch). x [N, C, H, W], weight [O, C/groups, kh, kw], bias [O] or none
/// -> y [N, O, OH, OW] with OH = (H + top + bottom - dilation·(kh - 1) - 1) / stride + 1, and OW likewise. Rows and columns may
/// have strides of their own.
/// </summary>
public sealed unsafe class Conv2dOp : Op
{
    private readonly Tensor x, weight;
    private readonly Tensor? bias;
    private readonly int batch, channels, outputs;
    private readonly Window window;

    public Conv2dOp(
        Tensor x, Tensor weight, Tensor? bias = null, Strides? stride = null, Padding padding = default, int dilation = 1, int groups = 1)
        : base(x, weight, bias)
    {
        Strides step = stride ?? 1;
        if (x.Rank != 4 || weight.Rank != 4 || groups < 1
            || x.Shape[1] != (long)weight.Shape[1] * groups || weight.Shape[0] % groups != 0)
        {
            throw new ArgumentException($"Conv2d: x {x.Shape} and weight {weight.Shape} in {groups} groups must be "
                + "[N, C, H, W] and [O, C/groups, kh, kw]");
        }
        if (bias is not null && bias.Shape != new Shape(weight.Shape[0]))
            throw new ArgumentException($"Conv2d: bias {bias.Shape} for weight {weight.Shape}");
        if (Math.Min(step.Rows, step.Columns) < 1 || dilation < 1)
            throw new ArgumentException($"Conv2d: stride {step} and dilation {dilation} must be at least 1");
        if (Math.Min(Math.Min(padding.Top, padding.Bottom), Math.Min(padding.Left, padding.Right)) < 0)
            throw new ArgumentException($"Conv2d: padding {padding} is negative");
        (this.x, this.weight, this.bias) = (x, weight, bias);
        (Stride, Padding, Dilation, Groups) = (step, padding, dilation, groups);
        (batch, channels, outputs) = (x.Shape[0], x.Shape[1], weight.Shape[0]);
        window = new Window(x.Shape[2], x.Shape[3], weight.Shape[2], weight.Shape[3], step, dilation, padding);
        if (window.OutArea == 0)
            throw new ArgumentException($"Conv2d: weight {weight.Shape} is larger than x {x.Shape} padded by {padding}");
    }

    /// <summary>With as many groups as the weight's channels tell.</summary>
    internal static Conv2dOp Of(Tensor x, Tensor weight, Tensor? bias, Strides stride, Padding padding, int dilation)
    {
        int groups = x.Rank == 4 && weight.Rank == 4 && weight.Shape[1] > 0 ? x.Shape[1] / weight.Shape[1] : 0;
        return new Conv2dOp(x, weight, bias, stride, padding, dilation, groups);
    }

    public override string Name => "Conv2d";

    public Tensor? Bias => bias;

    public Strides Stride { get; }

    public Padding Padding { get; }

    public int Dilation { get; }

    public int Groups { get; }

    public override Shape Result => new(batch, outputs, window.OutHeight, window.OutWidth);

    public override Cost Cost =>
        new(Result.Length * weight.Shape[1] * window.Taps, sizeof(float) * (x.Length + weight.Length + Result.Length));

    private bool IsDepthwise => Groups == channels && Groups > 1;

    private bool IsTiled => TiledConvolution.Fits(batch, Groups, window);

    protected override void Save(OpSettings settings) =>
        settings.Set("stride", Stride).Set("padding", Padding).Set("dilation", Dilation);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        float* b = bias is null ? null : bias.Data;
        if (IsDepthwise)
        {
            var depthwise = new Depthwise(batch, channels, outputs, window);
            using Tensor plane = Tensor.Unscoped(Floats(depthwise.ScratchLength));
            depthwise.Forward(x.Data, weight.Data, b, y.Data, plane.Data);
            return y;
        }
        if (IsTiled)
        {
            new TiledConvolution(batch, channels, outputs, window).Forward(x.Data, weight.Data, b, y.Data);
            return y;
        }
        var convolution = new Convolution(batch, channels, outputs, Groups, window);
        using Tensor scratch = Tensor.Unscoped(Floats(convolution.ScratchLength));
        convolution.Forward(x.Data, weight.Data, b, y.Data, scratch.Data);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (Wants(bias)) ChannelSum.Run(dy.Data, batch, outputs, window.OutArea, Cleared(bias!).Data);
        bool wantsX = Wants(x), wantsWeight = Wants(weight);
        if (IsTiled)
        {
            var tiled = new TiledConvolution(batch, channels, outputs, window);
            if (wantsX) tiled.InputGradient(weight.Data, dy.Data, GradOf(x, out bool add).Data, add);
            wantsX = false;
            if (wantsWeight && tiled.SumsWeights)
            {
                tiled.WeightGradient(x.Data, dy.Data, GradOf(weight, out bool add).Data, add);
                wantsWeight = false;
            }
        }
        Tensor? dx = wantsX ? Cleared(x) : null, dw = wantsWeight ? Cleared(weight) : null;
        if (IsDepthwise)
        {
            var depthwise = new Depthwise(batch, channels, outputs, window);
            if (dx is not null) depthwise.BackwardInput(weight.Data, dy.Data, dx.Data);
            if (dw is not null) depthwise.BackwardWeight(x.Data, dy.Data, dw.Data);
            return;
        }
        if (dx is null && dw is null) return;
        var convolution = new Convolution(batch, channels, outputs, Groups, window);
        using Tensor scratch = Tensor.Unscoped(Floats(convolution.ScratchLength));
        if (dw is null || convolution.Parts <= 1)
        {
            convolution.Backward(x.Data, weight.Data, dy.Data, Pointer(dx), Pointer(dw), scratch.Data);
            return;
        }
        // Each range of images sums into a copy of its own; the copies are added in order, so that runs repeat.
        using Tensor partial = Tensor.Unscoped(new Shape(convolution.Parts, checked((int)weight.Length)));
        partial.Fill(0);
        convolution.Backward(x.Data, weight.Data, dy.Data, Pointer(dx), partial.Data, scratch.Data);
        int size = (int)weight.Length;
        for (int part = 0; part < convolution.Parts; part++)
            TensorPrimitives.Add(dw.Span, new ReadOnlySpan<float>(partial.Data + (long)part * size, size), dw.Span);
    }

    /// <summary>
    /// y's channels are W's rows and b's entries. With one group x's channels are W's columns. With many small groups (depthwise:
    /// of one channel) a whole group of x's channels goes with the group's rows of W, and W's columns stay. With few large
    /// groups the number of groups stays, and the same channel of every group goes.
    /// </summary>
    public override void Flow(ChannelFlow flow)
    {
        if (bias is not null) flow.Same(Output, 1, bias, 0, ChannelRole.Bias);
        flow.Work(weight, 0);
        flow.Work(weight, 1);
        int perGroup = outputs / Groups, inputsPerGroup = channels / Groups;
        if (Groups == 1)
        {
            flow.Same(Output, 1, weight, 0, ChannelRole.Producer);
            flow.Same(x, 1, weight, 1, ChannelRole.Consumer);
        }
        else if (Groups >= inputsPerGroup)
        {
            flow.Couple(Output, 1, 0, perGroup, weight, 0, 0, perGroup, Groups);
            flow.Couple(x, 1, 0, inputsPerGroup, weight, 0, 0, perGroup, Groups);
            flow.Role(weight, 0, ChannelRole.Depthwise);
            flow.Fix(weight, 1, "the groups of a convolution keep their width");
        }
        else
        {
            flow.Same(Output, 1, weight, 0, ChannelRole.Producer);
            flow.Role(weight, 1, ChannelRole.Consumer);
            for (int g = 0; g < Groups; g++)
            {
                if (g > 0) flow.Couple(Output, 1, g * perGroup, 1, Output, 1, 0, 1, perGroup);
                flow.Couple(x, 1, g * inputsPerGroup, 1, weight, 1, 0, 1, inputsPerGroup);
            }
        }
    }

    private static Tensor Cleared(Tensor input)
    {
        Tensor grad = GradOf(input, out bool accumulate);
        if (!accumulate) grad.Fill(0);
        return grad;
    }

    private static float* Pointer(Tensor? t) => t is null ? null : t.Data;

    private static Shape Floats(long count) => new(checked((int)count));
}

public static partial class F
{
    /// <inheritdoc cref="Conv2dOp"/>
    public static Tensor Conv2d(
        Tensor x, Tensor weight, Tensor? bias = null,
        Strides? stride = null, Padding padding = default, int dilation = 1, int groups = 1) =>
        new Conv2dOp(x, weight, bias, stride, padding, dilation, groups).Run();
}
