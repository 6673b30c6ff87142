using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Inference;

/// <summary>Drops rows by their scores; those that stay follow one another. The result may lie where the rows were.</summary>
/// <param name="stage">Where a trace notes it.</param>
internal sealed unsafe class KeepStep(KeepLayer layer, int stage, Place from, Place scores, Place to) : Step
{
    private readonly KeepRule own = layer.Rule;
    private readonly int prefix = layer.Prefix, channels = layer.Input.Channels;
    private readonly bool fuse = layer.Fuse, ruled = layer.Ruled;
    private readonly RowAxis before = layer.Input.Axis!, after = layer.Output.Axis!;

    /// <summary>Whether the rule of a run looks at the scores.</summary>
    public bool LooksAtScores(Lane lane) => RuleOf(lane).By switch
    {
        KeepBy.All => false,
        KeepBy.Tokens => fuse,
        _ => true,
    };

    public override void Run(Lane lane)
    {
        KeepRule rule = RuleOf(lane);
        int* starts = lane.Starts(before), left = lane.Starts(after), tokens = lane.Tokens(before);
        var rows = new Rows(from.In(lane), from.Stride, tokens, to.In(lane), to.Stride, lane.Tokens(after), channels);
        int next = 0;
        for (int b = 0; b < lane.Images; b++)
        {
            left[b] = next;
            int first = starts[b], end = starts[b + 1];
            while (first < end && (tokens[first] < prefix || rule.By == KeepBy.All)) rows.Move(first++, next++);
            if (first < end) next = Some(lane, rule, rows, first, end, next);
        }
        left[lane.Images] = next;
        lane.Note(after, stage);
    }

    /// <summary>An unpruned run keeps every row; any other rule of a run is for some places only.</summary>
    private KeepRule RuleOf(Lane lane) => lane.Keep is { } given && (ruled || given.By == KeepBy.All) ? given : own;

    private int Some(Lane lane, KeepRule rule, in Rows rows, int first, int end, int next)
    {
        float* score = scores.In(lane);
        nint ld = scores.Stride;
        int* tokens = lane.Tokens(before);
        var (limit, ties) = rule.By is KeepBy.Share or KeepBy.Count
            ? HighestScores.Of(score + first * ld, ld, end - first, rule.Kept(end - first)) : (rule.Limit, int.MaxValue);
        Span<float> sum = fuse ? new Span<float>(Scratch.Rent(channels), channels) : [];
        sum.Clear();
        int heaviest = -1;
        for (int row = first; row < end; row++)
        {
            bool stays = rule.By == KeepBy.Tokens ? Array.BinarySearch(rule.List!, tokens[row]) >= 0
                : score[row * ld] is var s && (float.IsNaN(s) || s > limit || (s == limit && ties-- > 0));
            if (stays)
            {
                rows.Move(row, next++);
                continue;
            }
            if (!fuse) continue;
            // No row before this one lies behind it, so that it is still what it was.
            float weight = score[row * ld];
            var x = new ReadOnlySpan<float>(from.In(lane) + (nint)row * from.Stride, channels);
            TensorPrimitives.MultiplyAdd(x, weight, sum, sum);
            if (heaviest < 0 || weight > score[heaviest * ld]) heaviest = row;
        }
        if (heaviest < 0) return next;
        lane.Tokens(after)[next] = tokens[heaviest];
        sum.CopyTo(new Span<float>(to.In(lane) + (nint)next * to.Stride, channels));
        return next + 1;
    }

    /// <summary>Where the rows and their tokens are, and where those that stay go.</summary>
    private readonly struct Rows(float* x, nint ldx, int* tokens, float* y, nint ldy, int* kept, int channels)
    {
        /// <summary>A row to its new place, which is never after it.</summary>
        public void Move(int row, int next)
        {
            kept[next] = tokens[row];
            float* source = x + row * ldx, target = y + next * ldy;
            if (source != target) new ReadOnlySpan<float>(source, channels).CopyTo(new Span<float>(target, channels));
        }
    }
}

/// <summary>Neighbouring pixels of each image become those of other maps, or rows do.</summary>
/// <param name="from">Null for zeros.</param>
/// <param name="start">The first pixel of each image that is copied.</param>
/// <param name="first">Where it goes.</param>
internal sealed unsafe class PixelsStep(Map x, Place? from, int start, Map y, Place to, int first, int count) : Step
{
    public override void Run(Lane lane)
    {
        for (nint b = 0; b < lane.Images; b++)
        {
            float* target = to.In(lane) + (b * y.Pixels + first) * to.Stride;
            if (from is { } p)
                NhwcPass.Copy(count, y.Channels, p.In(lane) + (b * x.Pixels + start) * p.Stride, p.Stride, target, to.Stride);
            else
                for (nint i = 0; i < count; i++) new Span<float>(target + i * to.Stride, y.Channels).Clear();
        }
    }
}

/// <summary>Some rows of each image, by their place.</summary>
internal sealed unsafe class TakeStep(TakeLayer layer, Place from, Place to) : Step
{
    private readonly int start = layer.Start, count = layer.Output.Pixels, channels = layer.Input.Channels;
    private readonly RowAxis before = layer.Input.Axis!, after = layer.Output.Axis!;

    public override void Run(Lane lane)
    {
        int* starts = lane.Starts(before), tokens = lane.Tokens(before), taken = lane.Tokens(after);
        float* x = from.In(lane), y = to.In(lane);
        for (int b = 0; b < lane.Images; b++)
        {
            int first = starts[start < 0 ? b + 1 : b] + start;
            if (first < starts[b] || first + count > starts[b + 1])
                throw new EspalierException(
                    $"an image has {starts[b + 1] - starts[b]} rows left; {(start < 0 ? -start : start + count)} are needed");
            for (int i = 0; i < count; i++, y += to.Stride)
            {
                int row = first + i;
                *taken++ = tokens[row];
                new ReadOnlySpan<float>(x + (nint)row * from.Stride, channels).CopyTo(new Span<float>(y, channels));
            }
        }
    }
}

/// <summary>The mean of an image's rows on each of them; those in front have no part in it.</summary>
internal sealed unsafe class RowMeanStep(RowMeanLayer layer, Place from, Place to) : Step
{
    private readonly RowAxis axis = layer.Input.Axis!;
    private readonly int prefix = layer.Prefix, channels = layer.Input.Channels;

    public override void Run(Lane lane)
    {
        int* starts = lane.Starts(axis), tokens = lane.Tokens(axis);
        float* x = from.In(lane), y = to.In(lane);
        for (int b = 0; b < lane.Images; b++)
        {
            nint first = starts[b], behind = RowMeans.Behind(tokens, starts[b], starts[b + 1], prefix);
            int count = starts[b + 1] - (int)behind;
            RowMeans.Image(x + behind * from.Stride, from.Stride, count, channels, y + first * to.Stride, to.Stride,
                starts[b + 1] - (int)first, count);
        }
    }
}
