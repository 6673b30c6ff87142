using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Inference;

/// <summary>How much one query of each image attends to each key.</summary>
internal sealed unsafe class ClassAttentionStep(ClassAttentionLayer layer, Place q, Place k, Place to) : Step
{
    private readonly HeadLayout heads = layer.Op.Heads;
    private readonly float scale = layer.Op.Scale;
    private readonly RowAxis queries = layer.Input.Axis!, keys = layer.Inputs[1].Axis!;

    public override void Run(Lane lane) => ClassShares.Forward(
        heads.Over(lane.Starts(queries), lane.Starts(keys), lane.Images, scale), q.In(lane), q.Stride, k.In(lane), k.Stride,
        to.In(lane), to.Stride, null);
}

/// <summary>Where each row goes when rows that are alike are merged.</summary>
internal sealed unsafe class MatchStep(MatchLayer layer, Place from, Place to) : Step
{
    private readonly RowAxis rows = layer.Input.Axis!;
    private readonly (int Count, int Width) heads = layer.Op.Means;
    private readonly int count = layer.Op.Count, prefix = layer.Op.Prefix;

    public override void Run(Lane lane) =>
        RowMatching.Run(lane.Starts(rows), lane.Images, from.In(lane), from.Stride, heads.Count,
        heads.Width, count, prefix, to.In(lane), to.Stride);
}

/// <summary>Rows merged by a plan.</summary>
internal sealed unsafe class MergeStep(MergeLayer layer, Place from, Place plan, Place? weights, Place to) : Step
{
    private readonly RowAxis before = layer.Input.Axis!, after = layer.Output.Axis!;
    private readonly int channels = layer.Input.Channels, count = layer.Op.Count, prefix = layer.Op.Prefix;
    private readonly bool mean = layer.Op.Mean;

    public override void Run(Lane lane)
    {
        int* starts = lane.Starts(before), left = lane.Starts(after), tokens = lane.Tokens(after);
        left[0] = 0;
        for (int b = 0; b < lane.Images; b++)
            left[b + 1] = left[b] + RowMatching.Left(starts[b + 1] - starts[b], count, prefix);
        if (!RowMerging.IsWithin(starts, left, lane.Images, plan.In(lane), plan.Stride))
            throw new EspalierException("rows are to be merged at places that are none of their image's");
        RowMerging.Run(starts, left, lane.Images, from.In(lane), from.Stride, channels, plan.In(lane), plan.Stride,
            weights is { } w ? w.In(lane) : null, weights is { } v ? v.Stride : 0, mean, to.In(lane), to.Stride, tokens);
        // The rows that they came from, by number, become those rows' tokens.
        for (int row = 0; row < left[lane.Images]; row++) tokens[row] = tokens[row] < 0 ? 0 : lane.Tokens(before)[tokens[row]];
    }
}

/// <summary>Which rows are taken by sampling their scores.</summary>
internal sealed unsafe class SampleStep(SampleLayer layer, Place from, Place to) : Step
{
    private readonly RowAxis rows = layer.Input.Axis!;
    private readonly int levels = layer.Op.Levels, prefix = layer.Op.Prefix;

    public override void Run(Lane lane) => RowSampling.Run(
        lane.Starts(rows), lane.Images, from.In(lane), from.Stride, levels, prefix, to.In(lane), to.Stride);
}

/// <summary>The length of each pixel's channels.</summary>
internal sealed unsafe class RowNormStep(Map x, Place from, Place to) : Step
{
    public override void Run(Lane lane)
    {
        int rows = lane.Rows(x);
        for (nint row = 0; row < rows; row++)
        {
            to.In(lane)[row * to.Stride] =
                TensorPrimitives.Norm(new ReadOnlySpan<float>(from.In(lane) + row * from.Stride, x.Channels));
        }
    }
}

/// <summary>An elementwise function.</summary>
internal sealed unsafe class UnaryStep(UnaryLayer layer, Place from, Place to)
    : RowsStep(layer.Input, layer.Input.Channels, from, to)
{
    private readonly UnaryOp op = layer.Op;

    protected override void Rows(int rows, float* x, float* y) => Blocks.For((long)rows * Channels, new Job(op, x, y));

    private readonly struct Job(UnaryOp op, float* x, float* y) : IBlockJob
    {
        public void Run(long start, int count) =>
            op.Compute(new ReadOnlySpan<float>(x + start, count), new Span<float>(y + start, count));
    }
}

/// <summary>An elementwise function of two maps of the same rows, the second of which may have one number for each row.</summary>
internal sealed unsafe class BinaryStep(BinaryLayer layer, Place first, Place second, Place to) : Step
{
    private readonly BinaryOp op = layer.Op;
    private readonly Map rows = layer.Input;
    private readonly int channels = layer.Input.Channels;
    private readonly bool repeats = layer.Inputs[1].Channels < layer.Input.Channels;

    public override void Run(Lane lane)
    {
        int count = lane.Rows(rows);
        Span<float> repeated = repeats ? new Span<float>(Scratch.Rent(channels), channels) : [];
        for (nint row = 0; row < count; row++)
        {
            float* b = second.In(lane) + row * second.Stride;
            if (repeats) repeated.Fill(*b);
            op.Compute(new ReadOnlySpan<float>(first.In(lane) + row * first.Stride, channels),
                repeats ? repeated : new ReadOnlySpan<float>(b, channels), new Span<float>(to.In(lane) + row * to.Stride, channels));
        }
    }
}
