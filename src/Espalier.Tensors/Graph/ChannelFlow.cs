namespace Espalier.Tensors;

/// <summary>
/// How the entries along one axis of a tensor correspond to those along an axis of another: entry block i of A (entries
/// StartA + i·BlockA and the BlockA - 1 after it) stands or falls with entry block i of B, for i below Count.
/// </summary>
public sealed record Coupling(Tensor A, int AxisA, int StartA, int BlockA, Tensor B, int AxisB, int StartB, int BlockB, int Count);

/// <summary>
/// Collects what ops say about channels: which must be removed together, and which cannot be removed. The dependency
/// groups of structural pruning are the connected parts of this graph.
/// </summary>
public sealed class ChannelFlow
{
    private readonly List<Coupling> couplings = [];
    private readonly List<(Tensor Tensor, int Axis)> fixedAxes = [];

    public IReadOnlyList<Coupling> Couplings => couplings;

    /// <summary>Axes whose entries cannot be removed.</summary>
    public IReadOnlyList<(Tensor Tensor, int Axis)> FixedAxes => fixedAxes;

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
    public void Fix(Tensor tensor, int axis) => fixedAxes.Add((tensor, tensor.Shape.Axis(axis)));
}
