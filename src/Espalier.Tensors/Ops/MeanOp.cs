namespace Espalier.Tensors;

/// <summary>y = mean of x over some axes, or over all where none is named.</summary>
/// <inheritdoc/>
public sealed class MeanOp : SumOp
{
    public MeanOp(Tensor x, ReadOnlySpan<int> axes, bool keepDims = false) : base(x, axes, keepDims)
    {
        if (Count == 0) throw new ArgumentException($"Mean: nothing to take the mean of in x {x.Shape}");
    }

    public override string Name => "Mean";

    private protected override float Factor => 1f / Count;

    /// <summary>Leaving out an entry of a reduced axis, even one of zeros, changes the mean: they must all stay.</summary>
    public override void Flow(ChannelFlow flow)
    {
        base.Flow(flow);
        foreach (int axis in Axes) flow.Fix(X, axis);
    }
}

public static partial class F
{
    /// <summary>The mean of x over the named axes, or over all where none is named.</summary>
    public static Tensor Mean(Tensor x, params ReadOnlySpan<int> axes) => new MeanOp(x, axes).Run();

    /// <summary>The mean of x over the named axes; with <paramref name="keepDims"/> they stay with an extent of 1.</summary>
    public static Tensor Mean(Tensor x, ReadOnlySpan<int> axes, bool keepDims) => new MeanOp(x, axes, keepDims).Run();
}
