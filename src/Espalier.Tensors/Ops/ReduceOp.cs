using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Reduces axes of a tensor to one value each. x of any shape -> y without those axes, or with extents of 1 for them where
/// they are kept.
/// </summary>
public abstract class ReduceOp : Op
{
    private protected ReduceOp(Tensor x, ReadOnlySpan<int> axes, bool keepDims) : base(x)
    {
        X = x;
        KeepDims = keepDims;
        int rank = x.Rank;
        var reduced = new bool[rank];
        if (axes.IsEmpty) Array.Fill(reduced, true);
        foreach (int axis in axes)
        {
            if (axis < -rank || axis >= rank) throw new ArgumentException($"{Name}: axis {axis} of x {x.Shape}");
            reduced[x.Shape.Axis(axis)] = true;
        }
        Axes = [.. Enumerable.Range(0, rank).Where(i => reduced[i])];
        int[] kept = x.Shape.ToArray();
        foreach (int axis in Axes)
        {
            Count *= kept[axis];
            kept[axis] = 1;
        }
        Walk = new RowWalk(x.Shape, new Shape(kept));
        int[] remaining = [.. Enumerable.Range(0, rank).Where(i => !reduced[i]).Select(i => kept[i])];
        Shape = new Shape(keepDims ? kept : remaining);
    }

    /// <summary>The axes that are reduced, in order, counted from the first.</summary>
    public IReadOnlyList<int> Axes { get; }

    public bool KeepDims { get; }

    public override Shape Result => Shape;

    public override Cost Cost => new(0, sizeof(float) * (X.Length + Shape.Length));

    protected override void Save(OpSettings settings) => settings.Set("axes", Axes).Set("keepDims", KeepDims);

    private protected Tensor X { get; }

    private protected Shape Shape { get; }

    /// <summary>How many elements of x go into one of y.</summary>
    private protected long Count { get; } = 1;

    /// <summary>x's elements, y being operand 0.</summary>
    private protected RowWalk Walk { get; }

    private protected override RowSet? ResultRows() => Axes.Contains(0) ? null : base.ResultRows();

    /// <summary>The axes that remain are the same in x and y.</summary>
    public override void Flow(ChannelFlow flow)
    {
        int to = 0;
        for (int i = 0; i < X.Rank; i++)
        {
            if (!Axes.Contains(i)) flow.Same(Output, to++, X, i);
            else if (KeepDims) to++;
        }
    }
}
