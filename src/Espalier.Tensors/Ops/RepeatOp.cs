using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>
/// One thing for every image, such as a class token: x [1, ..], like [N, ..] -> y [N, ..], x once for each entry of the other
/// operand's axis 0, of which nothing else matters.
/// </summary>
public sealed class RepeatOp : Op
{
    private readonly Tensor x, like;

    public RepeatOp(Tensor x, Tensor like) : base(x, like)
    {
        if (x.Rank == 0 || x.Shape[0] != 1 || like.Rank == 0)
            throw new ArgumentException($"Repeat: x {x.Shape} and like {like.Shape} must be [1, ..] and [N, ..]");
        (this.x, this.like) = (x, like);
    }

    public override string Name => "Repeat";

    public override Shape Result => x.Shape.With(0, like.Shape[0]);

    public override Cost Cost => new(0, sizeof(float) * (x.Length + Result.Length));

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        for (int n = 0; n < like.Shape[0]; n++) x.Span.CopyTo(y.Span[(n * (int)x.Length)..]);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (!Wants(x)) return;
        int length = (int)x.Length;
        Tensor dx = GradOf(x, out bool accumulate);
        if (!accumulate) dx.Fill(0);
        for (int n = 0; n < like.Shape[0]; n++) TensorPrimitives.Add(dx.Span, dy.Span.Slice(n * length, length), dx.Span);
    }

    public override void Flow(ChannelFlow flow)
    {
        for (int i = 1; i < x.Rank; i++) flow.Same(Output, i, x, i);
    }
}

public static partial class F
{
    /// <inheritdoc cref="RepeatOp"/>
    public static Tensor Repeat(Tensor x, Tensor like) => new RepeatOp(x, like).Run();
}
