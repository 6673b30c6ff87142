using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>y's axis i is x's axis axes[i]: any reordering of axes, of which a transpose is one.</summary>
public sealed unsafe class PermuteOp : Op
{
    private readonly Tensor x;
    private readonly int[] axes;

    /// <param name="axes">Every axis of x once.</param>
    public PermuteOp(Tensor x, params ReadOnlySpan<int> axes) : base(x)
    {
        var seen = new bool[x.Rank];
        this.axes = axes.ToArray();
        this.x = x;
        bool complete = axes.Length == x.Rank;
        for (int i = 0; i < axes.Length && complete; i++)
        {
            int axis = axes[i] < 0 ? axes[i] + x.Rank : axes[i];
            complete = (uint)axis < (uint)x.Rank && !seen[axis];
            if (complete) seen[this.axes[i] = axis] = true;
        }
        if (!complete)
            throw new ArgumentException($"Permute: [{string.Join(",", axes.ToArray())}] is not an order of the axes of x {x.Shape}");
    }

    public override string Name => "Permute";

    public IReadOnlyList<int> Axes => axes;

    public override Shape Result => new(Array.ConvertAll(axes, axis => x.Shape[axis]));

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    protected override void Save(OpSettings settings) => settings.Set("axes", axes);

    private protected override RowSet? ResultRows() => axes is [0, ..] ? base.ResultRows() : null;

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        Permutation.Run(x.Data, x.Shape, axes, y.Data, false);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        var inverse = new int[axes.Length];
        for (int i = 0; i < axes.Length; i++) inverse[axes[i]] = i;
        Tensor dx = GradOf(x, out bool accumulate);
        Permutation.Run(dy.Data, dy.Shape, inverse, dx.Data, accumulate);
    }

    public override void Flow(ChannelFlow flow)
    {
        for (int i = 0; i < axes.Length; i++) flow.Same(Output, i, x, axes[i]);
    }
}

public static partial class F
{
    /// <inheritdoc cref="PermuteOp"/>
    public static Tensor Permute(Tensor x, params ReadOnlySpan<int> axes) => new PermuteOp(x, axes).Run();

    /// <summary>Two axes change places; the last two where none is named.</summary>
    public static Tensor Transpose(Tensor x, int first = -2, int second = -1)
    {
        int[] axes = [.. Enumerable.Range(0, x.Rank)];
        int a = x.Shape.Axis(first), b = x.Shape.Axis(second);
        (axes[a], axes[b]) = (b, a);
        return Permute(x, axes);
    }
}
