using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Puts tensors one after another along an axis. Parts [.., d_i, ..] -> y [.., Σ d_i, ..], all other extents being equal.
/// </summary>
public sealed unsafe class ConcatOp : Op
{
    private readonly int axis;
    private readonly Shape shape;

    /// <param name="axis">A negative axis counts from the end.</param>
    public ConcatOp(int axis, params Tensor[] parts) : base(parts)
    {
        if (parts.Length == 0) throw new ArgumentException("Concat: no parts");
        Shape first = parts[0].Shape;
        this.axis = first.Axis(axis);
        int extent = 0;
        foreach (Tensor part in parts)
        {
            if (part.Rank != first.Rank || part.Shape.With(this.axis, first[this.axis]) != first)
                throw new ArgumentException($"Concat: {first} and {part.Shape} differ in more than axis {this.axis}");
            extent = checked(extent + part.Shape[this.axis]);
        }
        shape = first.With(this.axis, extent);
    }

    public override string Name => "Concat";

    public int Axis => axis;

    public override Shape Result => shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * shape.Length);

    protected override void Save(OpSettings settings) => settings.Set("axis", axis);

    private protected override RowSet? ResultRows()
    {
        if (axis > 0) return base.ResultRows();
        return Inputs.All(p => p.Rows is not null) ? Inputs.Select(p => p.Rows!).Aggregate(RowSet.Concat) : null;
    }

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        long start = 0;
        foreach (Tensor part in Inputs)
        {
            long width = Width(part.Shape);
            StridedRows.Move(part.Data, width, y.Data + start, Width(shape), Outer, width, false);
            start += width;
        }
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        long start = 0;
        foreach (Tensor part in Inputs)
        {
            long width = Width(part.Shape);
            if (Wants(part))
            {
                Tensor d = GradOf(part, out bool accumulate);
                StridedRows.Move(dy.Data + start, Width(shape), d.Data, width, Outer, width, accumulate);
            }
            start += width;
        }
    }

    /// <summary>Along the axis each part is a stretch of y; every other axis is the same in all.</summary>
    public override void Flow(ChannelFlow flow)
    {
        int start = 0;
        foreach (Tensor part in Inputs)
        {
            for (int i = 0; i < shape.Rank; i++)
            {
                if (i == axis) flow.Couple(Output, i, start, 1, part, i, 0, 1, part.Shape[i]);
                else flow.Same(Output, i, part, i);
            }
            start += part.Shape[axis];
        }
    }

    private long Outer
    {
        get
        {
            long rows = 1;
            for (int i = 0; i < axis; i++) rows *= shape[i];
            return rows;
        }
    }

    /// <summary>Elements that lie together: the axis and all after it.</summary>
    private long Width(Shape s)
    {
        long width = 1;
        for (int i = axis; i < s.Rank; i++) width *= s[i];
        return width;
    }
}

public static partial class F
{
    /// <inheritdoc cref="ConcatOp"/>
    public static Tensor Concat(int axis, params Tensor[] parts) => new ConcatOp(axis, parts).Run();
}
