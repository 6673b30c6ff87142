using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Puts a constant around a tensor. x [.., d_i, ..] -> y [.., before_i + d_i + after_i, ..]; x is y's part from entry before_i
/// on along each axis.
/// </summary>
public sealed unsafe class PadOp : Op
{
    private readonly Tensor x;
    private readonly int[] before;
    private readonly float value;
    private readonly Shape shape;

    /// <param name="padding">Entries before and after, for the last axes of x: one pair an axis, the last pair for the last
    /// axis. Axes without a pair are not padded.</param>
    public PadOp(Tensor x, ReadOnlySpan<(int Before, int After)> padding, float value = 0) : base(x)
    {
        if (padding.Length > x.Rank) throw new ArgumentException($"Pad: {padding.Length} pairs for x {x.Shape}");
        (this.x, this.value) = (x, value);
        before = new int[x.Rank];
        int[] dims = x.Shape.ToArray();
        for (int i = 1; i <= padding.Length; i++)
        {
            if (padding[^i].Before < 0 || padding[^i].After < 0)
                throw new ArgumentException($"Pad: {padding[^i]} for axis {x.Rank - i} of x {x.Shape} is negative");
            before[^i] = padding[^i].Before;
            dims[^i] = checked(dims[^i] + padding[^i].Before + padding[^i].After);
        }
        shape = new Shape(dims);
    }

    /// <param name="before">Entries before x along each of its axes; likewise <paramref name="after"/>.</param>
    internal static PadOp Of(Tensor x, int[] before, int[] after, float value)
    {
        if (before.Length != x.Rank || after.Length != x.Rank) throw new ArgumentException($"Pad: widths for another rank than x {x.Shape}");
        return new PadOp(x, before.Zip(after).ToArray(), value);
    }

    public override string Name => "Pad";

    /// <summary>Entries put before x along each of its axes.</summary>
    public IReadOnlyList<int> Before => before;

    public float Value => value;

    public override Shape Result => shape;

    public override Cost Cost => new(0, sizeof(float) * (x.Length + shape.Length));

    protected override void Save(OpSettings settings) =>
        settings.Set("before", before).Set("after", before.Select((n, i) => shape[i] - x.Shape[i] - n)).Set("value", value);

    protected override Tensor Forward()
    {
        Tensor y = Tensor.Full(shape, value);
        For(new CopyJob(this, x.Data, y.Data, false));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        For(new CopyJob(this, dx.Data, dy.Data, true, accumulate));
    }

    /// <summary>A padded axis must stay, as the widths of the padding are constants of the caller.</summary>
    public override void Flow(ChannelFlow flow)
    {
        for (int i = 0; i < x.Rank; i++)
        {
            flow.Couple(Output, i, before[i], 1, x, i, 0, 1, x.Shape[i]);
            if (shape[i] == x.Shape[i]) continue;
            flow.Fix(x, i, "they are padded to a constant width");
            flow.Fix(Output, i, "they are padded to a constant width");
        }
    }

    private int Width => x.Rank == 0 ? 1 : x.Shape[-1];

    private void For(in CopyJob job)
    {
        if (x.Length > 0) Rows.For(x.Length / Width, Width, job);
    }

    /// <summary>Where a row of x begins in y.</summary>
    private long Place(long row)
    {
        if (x.Rank == 0) return 0;
        long place = before[^1], stride = shape[-1];
        for (int i = x.Rank - 2; i >= 0; i--)
        {
            (row, long at) = Math.DivRem(row, x.Shape[i]);
            place += (at + before[i]) * stride;
            stride *= shape[i];
        }
        return place;
    }

    /// <summary>Copies rows of the small tensor to their place in the padded one, or the other way.</summary>
    private readonly struct CopyJob(PadOp op, float* small, float* padded, bool back, bool accumulate = false) : IRowJob
    {
        public void Run(long row)
        {
            Span<float> inside = new(small + row * op.Width, op.Width), place = new(padded + op.Place(row), op.Width);
            if (!back) inside.CopyTo(place);
            else if (accumulate) TensorPrimitives.Add(inside, place, inside);
            else place.CopyTo(inside);
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="PadOp"/>
    /// <param name="padding">One pair (before, after) for each of the last axes, the last pair for the last axis.</param>
    public static Tensor Pad(Tensor x, ReadOnlySpan<(int Before, int After)> padding, float value = 0) =>
        new PadOp(x, padding, value).Run();
}
