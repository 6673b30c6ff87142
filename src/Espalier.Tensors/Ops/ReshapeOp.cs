namespace Espalier.Tensors;

/// <summary>
/// The same elements under another shape of as many; y shares x's memory. It is kept as what it does to neighbouring axes (keep
/// one, join several, split one), not as numbers: made again on another x, axis 0 is as long as x's and so are joined axes.
/// </summary>
public sealed class ReshapeOp : Op
{
    /// <summary>In <see cref="sizes"/>: what the other axes of the group leave.</summary>
    private const int Rest = -1;

    private readonly Tensor x;
    private readonly Shape shape;

    // Neighbouring axes of x become neighbouring axes of y: how many, group by group, and the extents of y's.
    private readonly int[] from, to, sizes;

    /// <summary>The groups are the shortest of equal size; of a group's axes in y one is what the others leave, see
    /// <see cref="Free"/>.</summary>
    public ReshapeOp(Tensor x, Shape shape) : this(x, Groups(x.Shape, shape))
    {
    }

    /// <param name="from">Axes of x in each group.</param>
    /// <param name="to">Axes of y in each group.</param>
    /// <param name="sizes">Extents of y's axes; one of a group may be -1 for what the others leave.</param>
    internal ReshapeOp(Tensor x, int[] from, int[] to, int[] sizes) : this(x, (from, to, sizes))
    {
    }

    private ReshapeOp(Tensor x, (int[] From, int[] To, int[] Sizes) groups) : base(x)
    {
        (this.x, (from, to, sizes)) = (x, groups);
        shape = Applied();
    }

    public override string Name => "Reshape";

    /// <summary>Whether the first axis becomes several.</summary>
    internal bool SplitsFirst => from[0] == 1 && to[0] > 1;

    public override Shape Result => shape;

    public override Cost Cost => default;

    protected override void Save(OpSettings settings) => settings.Set("from", from).Set("to", to).Set("sizes", sizes);

    protected override Tensor Forward() => x.View(shape);

    protected internal override void Backward(Tensor dy) => PassGrad(x, dy);

    /// <summary>
    /// A group of one axis on each side is the same axis. Where one axis is split into several (or several are joined to one), each
    /// entry of the first of them is a block of the one: flattening [N, C, H, W] to [N, C·H·W] makes channel c the columns c·H·W to
    /// (c + 1)·H·W - 1. Splitting an axis that others follow cuts a map's channels into a number of groups, as a channel shuffle
    /// does: that number stays, and the same channel of every group is an entry of the last new axis. What cannot be said in
    /// blocks must stay.
    /// </summary>
    public override void Flow(ChannelFlow flow)
    {
        if (x.Length == 0) return;
        int i = 0, j = 0;
        for (int g = 0; g < from.Length; i += from[g], j += to[g], g++)
            Match(flow, Longer(x.Shape, i, from[g]), Longer(shape, j, to[g]));
    }

    private void Match(ChannelFlow flow, int[] from, int[] to)
    {
        if (from.Length == 0) return;
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

    /// <summary>Those of some neighbouring axes that have more than one entry.</summary>
    private static int[] Longer(Shape shape, int first, int count) =>
        [.. Enumerable.Range(first, count).Where(axis => shape[axis] != 1)];

    private Shape Applied()
    {
        if (from.Length != to.Length || from.Sum() != x.Rank || to.Sum() != sizes.Length || from.Concat(to).Any(n => n < 0))
            throw new ArgumentException($"Reshape: groups of axes that are not those of x {x.Shape}");
        int[] dims = [.. sizes];
        int i = 0, j = 0;
        for (int g = 0; g < from.Length; i += from[g], j += to[g], g++)
        {
            long all = 1, known = 1;
            for (int a = i; a < i + from[g]; a++) all = checked(all * x.Shape[a]);
            int free = Array.IndexOf(dims, Rest, j, to[g]);
            for (int a = j; a < j + to[g]; a++) if (a != free) known = checked(known * dims[a]);
            if (free >= 0 && known > 0 && all % known == 0) known *= dims[free] = checked((int)(all / known));
            if (known != all)
                throw new ArgumentException($"Reshape: x {x.Shape} to [{string.Join(",", sizes)}]: not the same number of elements");
        }
        return new Shape(dims);
    }

    private static (int[] From, int[] To, int[] Sizes) Groups(Shape x, Shape y)
    {
        if (x.Length != y.Length) throw new ArgumentException($"Reshape: x {x} to {y}: not the same number of elements");
        List<int> from = [], to = [];
        int i = 0, j = 0;
        while (i < x.Rank && j < y.Rank)
        {
            int i0 = i, j0 = j;
            long a = x[i++], b = y[j++];
            // Without elements there is nothing to divide by.
            while (a != b && (i < x.Rank || j < y.Rank))
            {
                if (j == y.Rank || (a < b && i < x.Rank)) a *= x[i++];
                else b *= y[j++];
            }
            from.Add(i - i0);
            to.Add(j - j0);
        }
        // Axes of one entry at an end belong to the group before them.
        if (from.Count == 0) (from, to) = ([0], [0]);
        from[^1] += x.Rank - i;
        to[^1] += y.Rank - j;
        int[] sizes = y.ToArray(), extents = x.ToArray();
        for (int g = 0, start = 0, at = 0; g < to.Count; start += from[g], at += to[g++])
            if (to[g] > 0) sizes[Free(extents, start, from[g], sizes, at, to[g])] = Rest;
        return ([.. from], [.. to], sizes);
    }

    /// <summary>Which axis of a group in y is as long as x makes it, the one that channels are taken from (see <see cref="Flow"/>): the
    /// first longer than 1 where x's last axis is split, as into heads and what is in them, else the last.</summary>
    /// <param name="first">Of the group's axes in x, of which there are <paramref name="count"/>.</param>
    /// <param name="at">The same in y.</param>
    internal static int Free(ReadOnlySpan<int> x, int first, int count, ReadOnlySpan<int> y, int at, int length)
    {
        bool splitsLast = count > 0 && first + count == x.Length && x[^1] != 1 && x.Slice(first, count - 1).IndexOfAnyExcept(1) < 0;
        ReadOnlySpan<int> own = y.Slice(at, length);
        int place = splitsLast ? own.IndexOfAnyExcept(1) : own.LastIndexOfAnyExcept(1);
        return at + Math.Max(0, place);
    }
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

    /// <summary>Joins neighbouring axes to one: [N, C, H, W] -> [N, C·H·W].</summary>
    public static Tensor Flatten(Tensor x, int first = 1, int last = -1)
    {
        int a = x.Shape.Axis(first), b = x.Shape.Axis(last);
        int[] from = [.. Enumerable.Repeat(1, a), b - a + 1, .. Enumerable.Repeat(1, x.Rank - 1 - b)];
        return new ReshapeOp(x, from, [.. from.Select(_ => 1)], [.. from.Select(_ => -1)]).Run();
    }

    /// <summary>Splits an axis into several, one of which may be -1 for what the others leave: [N, C, ..] -> [N, g, C/g, ..].</summary>
    public static Tensor Split(Tensor x, int axis, params ReadOnlySpan<int> sizes)
    {
        int a = x.Shape.Axis(axis), after = x.Rank - 1 - a;
        int[] ones = [.. Enumerable.Repeat(1, x.Rank)], to = [.. ones[..a], sizes.Length, .. ones[..after]];
        int[] rest = [.. Enumerable.Repeat(-1, x.Rank)];
        return new ReshapeOp(x, ones, to, [.. rest[..a], .. sizes, .. rest[..after]]).Run();
    }
}
