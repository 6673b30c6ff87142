using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>A stretch of one axis. x [.., d, ..] -> y [.., length, ..], from entry <c>start</c> on.</summary>
public sealed unsafe class SliceOp : Op
{
    private readonly Tensor x;
    private readonly int axis, start, length;
    private readonly long outer, below;

    /// <param name="axis">A negative axis counts from the end.</param>
    public SliceOp(Tensor x, int axis, int start, int length) : base(x)
    {
        this.x = x;
        this.axis = x.Shape.Axis(axis);
        if (start < 0 || length < 0 || start + (long)length > x.Shape[axis])
            throw new ArgumentException($"Slice: {length} entries from {start} of axis {this.axis} of x {x.Shape}");
        (this.start, this.length) = (start, length);
        outer = below = 1;
        for (int i = 0; i < this.axis; i++) outer *= x.Shape[i];
        for (int i = this.axis + 1; i < x.Rank; i++) below *= x.Shape[i];
    }

    internal static SliceOp Of(Tensor x, OpSettings settings)
    {
        int axis = settings.Int("axis");
        if (!settings.Has("parts")) return new SliceOp(x, axis, settings.Int("start"), settings.Int("length"));
        int parts = settings.Int("parts"), part = settings.Int("part");
        if (axis < -x.Rank || axis >= x.Rank || parts < 1 || x.Shape[axis] % parts != 0)
            throw new ArgumentException($"Slice: axis {axis} of x {x.Shape} does not divide into {parts} parts");
        int length = x.Shape[axis] / parts;
        return new SliceOp(x, axis, checked(part * length), length);
    }

    public override string Name => "Slice";

    public int Axis => axis;

    public int Start => start;

    public override Shape Result => x.Shape.With(axis, length);

    public override Cost Cost => new(0, sizeof(float) * 2 * outer * length * below);

    /// <summary>One of several equal parts of channels stays one, see <see cref="Flow"/>; any other cut keeps its place.</summary>
    protected override void Save(OpSettings settings)
    {
        settings.Set("axis", axis);
        if (axis > 0 && length > 0 && x.Shape[axis] % length == 0 && start % length == 0)
            settings.Set("part", start / length).Set("parts", x.Shape[axis] / length);
        else settings.Set("start", start).Set("length", length);
    }

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        StridedRows.Move(x.Data + start * below, x.Shape[axis] * below, y.Data, length * below, outer, length * below, false);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        if (!accumulate) dx.Fill(0);
        StridedRows.Move(dy.Data, length * below, dx.Data + start * below, x.Shape[axis] * below, outer, length * below, true);
    }

    /// <summary>
    /// y is one of several equal parts of x, and stays one if every part loses the same entries. Where x is not cut into equal
    /// parts the place of the cut is a constant of the caller, and all entries must stay. Every other axis is the same.
    /// </summary>
    public override void Flow(ChannelFlow flow)
    {
        for (int i = 0; i < x.Rank; i++)
        {
            if (i != axis) flow.Same(Output, i, x, i);
            else if (length > 0 && x.Shape[i] % length == 0 && start % length == 0)
            {
                for (int at = 0; at < x.Shape[i]; at += length) flow.Couple(Output, i, 0, 1, x, i, at, 1, length);
            }
            else
            {
                flow.Couple(Output, i, 0, 1, x, i, start, 1, length);
                flow.Fix(x, i, "they are cut into unequal parts");
            }
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="SliceOp"/>
    public static Tensor Slice(Tensor x, int axis, int start, int length) => new SliceOp(x, axis, start, length).Run();
}
