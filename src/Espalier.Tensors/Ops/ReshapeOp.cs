namespace Espalier.Tensors;

/// <summary>The same elements under another shape of as many; y shares x's memory.</summary>
public sealed class ReshapeOp : Op
{
    private readonly Tensor x;
    private readonly Shape shape;

    public ReshapeOp(Tensor x, Shape shape) : base(x)
    {
        if (shape.Length != x.Length)
            throw new ArgumentException($"Reshape: x {x.Shape} to {shape}: not the same number of elements");
        (this.x, this.shape) = (x, shape);
    }

    public override string Name => "Reshape";

    public override Cost Cost => default;

    protected override Tensor Forward() => x.View(shape);

    protected internal override void Backward(Tensor dy) => PassGrad(x, dy);

    /// <summary>
    /// Axes are matched in the shortest groups of equal size. A group of one axis on each side is the same axis. Where one
    /// axis is split into several (or several are joined to one), each entry of the first of them is a block of the one:
    /// flattening [N, C, H, W] to [N, C·H·W] makes channel c the columns c·H·W to (c + 1)·H·W - 1. Splitting an axis that others
    /// follow cuts a map's channels into a number of groups, as a channel shuffle does: that number stays, and the same channel
    /// of every group is an entry of the last new axis. What cannot be said in blocks must stay.
    /// </summary>
    public override void Flow(ChannelFlow flow)
    {
        if (x.Length == 0) return;
        int[] from = Longer(x.Shape), to = Longer(shape);
        int i = 0, j = 0;
        while (i < from.Length && j < to.Length)
        {
            int i0 = i, j0 = j;
            long a = x.Shape[from[i++]], b = shape[to[j++]];
            while (a != b)
            {
                if (a < b) a *= x.Shape[from[i++]];
                else b *= shape[to[j++]];
            }
            Match(flow, from[i0..i], to[j0..j]);
        }
    }

    private void Match(ChannelFlow flow, int[] from, int[] to)
    {
        if (from.Length > 1 && to.Length > 1)
        {
            foreach (int axis in from) flow.Fix(x, axis);
            foreach (int axis in to) flow.Fix(Output, axis);
            return;
        }
        if (to.Length > 1 && from[0] < x.Rank - 1)
        {
            int each = shape[to[^1]];
            for (int at = 0; at < x.Shape[from[0]]; at += each) flow.Couple(Output, to[^1], 0, 1, x, from[0], at, 1, each);
            foreach (int axis in to[..^1]) flow.Fix(Output, axis);
            return;
        }
        int count = from.Length > 1 ? x.Shape[from[0]] : shape[to[0]];
        flow.Couple(Output, to[0], 0, shape[to[0]] / count, x, from[0], 0, x.Shape[from[0]] / count, count);
        foreach (int axis in from[1..]) flow.Fix(x, axis);
        foreach (int axis in to[1..]) flow.Fix(Output, axis);
    }

    /// <summary>The axes with more than one entry.</summary>
    private static int[] Longer(Shape shape) => [.. Enumerable.Range(0, shape.Rank).Where(axis => shape[axis] != 1)];
}

public static partial class F
{
    /// <inheritdoc cref="ReshapeOp"/>
    public static Tensor Reshape(Tensor x, Shape shape) => new ReshapeOp(x, shape).Run();

    /// <summary>As the other overload; one extent may be -1, which stands for what remains.</summary>
    public static Tensor Reshape(Tensor x, params ReadOnlySpan<int> dims)
    {
        int[] filled = dims.ToArray();
        int free = Array.IndexOf(filled, -1);
        if (free >= 0)
        {
            filled[free] = 1;
            long rest = new Shape(filled).Length;
            if (rest == 0 || x.Length % rest != 0)
                throw new ArgumentException($"Reshape: x {x.Shape} does not divide into [{string.Join(",", dims.ToArray())}]");
            filled[free] = checked((int)(x.Length / rest));
        }
        return Reshape(x, new Shape(filled));
    }
}
