namespace Espalier.Tensors;

/// <summary>
/// How the entries along one axis of a tensor correspond to those along an axis of another: entry block i of A (entries
/// StartA + i·BlockA and the BlockA - 1 after it) stands or falls with entry block i of B, for i below Count.
/// </summary>
public sealed record Coupling(Tensor A, int AxisA, int StartA, int BlockA, Tensor B, int AxisB, int StartB, int BlockB, int Count);

/// <summary>What of multi-head attention is a channel, to be removed or not.</summary>
public enum HeadView
{
    /// <summary>A head: all its columns of queries, keys and values.</summary>
    Heads,

    /// <summary>
    /// An index inside all heads of a layer, one of queries and keys or one of values: heads stay alike.
    /// </summary>
    AllHeads,

    /// <summary>An index inside one head: heads may come to differ in width.</summary>
    EachHead,
}

/// <summary>
/// Collects what ops say about channels: which must be removed together, and which cannot be removed. The dependency
/// groups of structural pruning are the connected parts of this graph.
/// </summary>
public sealed class ChannelFlow
{
    private readonly List<Coupling> couplings = [];
    private readonly List<(Tensor Tensor, int Axis, string? Reason)> fixedAxes = [];
    private readonly List<(Tensor Tensor, int Axis, ChannelRole Role)> roles = [];
    private readonly List<(Tensor Tensor, int Axis)> mixedAxes = [], workAxes = [];
    private readonly List<(Tensor A, Tensor B)> sums = [];
    private readonly List<(long MultiplyAdds, Tensor Tensor, int Axis)> workParts = [];

    /// <summary>What attention is asked about.</summary>
    public HeadView Heads { get; init; }

    public IReadOnlyList<Coupling> Couplings => couplings;

    /// <summary>Axes whose entries cannot be removed, and why where the op says it.</summary>
    public IReadOnlyList<(Tensor Tensor, int Axis, string? Reason)> FixedAxes => fixedAxes;

    /// <summary>What the entries of an operand's axis are to a channel.</summary>
    public IReadOnlyList<(Tensor Tensor, int Axis, ChannelRole Role)> Roles => roles;

    /// <summary>Axes that statistics are taken over: without an entry the others change, even where it was zero.</summary>
    public IReadOnlyList<(Tensor Tensor, int Axis)> MixedAxes => mixedAxes;

    /// <summary>Axes that the op's multiply-adds are proportional to, each.</summary>
    public IReadOnlyList<(Tensor Tensor, int Axis)> WorkAxes => workAxes;

    /// <summary>For an op whose multiply-adds are a sum: how many are proportional to an axis.</summary>
    public IReadOnlyList<(long MultiplyAdds, Tensor Tensor, int Axis)> WorkParts => workParts;

    /// <summary>Branches that are added.</summary>
    public IReadOnlyList<(Tensor A, Tensor B)> Sums => sums;

    /// <summary>Entry i of one axis is entry i of the other.</summary>
    public void Same(Tensor a, int axisA, Tensor b, int axisB) => Couple(a, axisA, 0, 1, b, axisB, 0, 1, a.Shape[axisA]);

    /// <summary>Two tensors of one shape, entry for entry along every axis.</summary>
    public void SameShape(Tensor a, Tensor b)
    {
        for (int axis = 0; axis < a.Rank; axis++) Same(a, axis, b, axis);
    }

    /// <summary>An operand that was broadcast to <paramref name="result"/>: the same along the axes that it was not repeated on.</summary>
    public void Broadcast(Tensor result, Tensor operand)
    {
        for (int i = operand.Rank; i >= 1; i--)
            if (operand.Shape[-i] == result.Shape[-i]) Same(result, -i, operand, -i);
    }

    /// <summary>Block i of one axis is block i of the other; see <see cref="Coupling"/>.</summary>
    public void Couple(Tensor a, int axisA, int startA, int blockA, Tensor b, int axisB, int startB, int blockB, int count)
    {
        int ax = a.Shape.Axis(axisA), bx = b.Shape.Axis(axisB);
        if (startA + (long)count * blockA > a.Shape[ax] || startB + (long)count * blockB > b.Shape[bx])
            throw new ArgumentException($"{count} blocks of {blockA} and {blockB} do not fit axis {ax} of {a.Shape} and axis {bx} of {b.Shape}");
        couplings.Add(new Coupling(a, ax, startA, blockA, b, bx, startB, blockB, count));
    }

    /// <summary>The entries of this axis must all stay.</summary>
    /// <param name="reason">The end of the sentence "these channels must stay: ...".</param>
    public void Fix(Tensor tensor, int axis, string? reason = null) => fixedAxes.Add((tensor, tensor.Shape.Axis(axis), reason));

    /// <summary>See <see cref="Roles"/>.</summary>
    public void Role(Tensor tensor, int axis, ChannelRole role) => roles.Add((tensor, tensor.Shape.Axis(axis), role));

    /// <summary>As the other overload, and b's entries have the role for a's channels.</summary>
    public void Same(Tensor a, int axisA, Tensor b, int axisB, ChannelRole role)
    {
        Same(a, axisA, b, axisB);
        Role(b, axisB, role);
    }

    /// <summary>See <see cref="MixedAxes"/>.</summary>
    public void Mix(Tensor tensor, int axis) => mixedAxes.Add((tensor, tensor.Shape.Axis(axis)));

    /// <summary>See <see cref="WorkAxes"/>.</summary>
    public void Work(Tensor tensor, int axis) => workAxes.Add((tensor, tensor.Shape.Axis(axis)));

    /// <summary>See <see cref="WorkParts"/>.</summary>
    public void Work(long multiplyAdds, Tensor tensor, int axis) =>
        workParts.Add((multiplyAdds, tensor, tensor.Shape.Axis(axis)));

    /// <summary>See <see cref="Sums"/>.</summary>
    public void Sum(Tensor a, Tensor b) => sums.Add((a, b));
}
