using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// y = a where the condition is not 0, else b, under NumPy's broadcasting rules. No gradient comes to the condition.
/// </summary>
public sealed unsafe class WhereOp : Op
{
    private readonly Tensor condition, a, b;
    private readonly RowWalk walk;

    public WhereOp(Tensor condition, Tensor a, Tensor b) : base(condition, a, b)
    {
        (this.condition, this.a, this.b) = (condition, a, b);
        walk = new RowWalk(RowWalk.Joint(Name, condition.Shape, a.Shape, b.Shape), condition.Shape, a.Shape, b.Shape);
    }

    public override string Name => "Where";

    public override Shape Result => walk.Shape;

    public override Cost Cost => new(0, sizeof(float) * 4 * walk.Shape.Length);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        walk.For(new ForwardJob(this, y.Data));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        for (int operand = 1; operand <= 2; operand++)
        {
            Tensor x = operand == 1 ? a : b;
            if (!Wants(x)) continue;
            Tensor dx = GradOf(x, out bool accumulate);
            if (!accumulate) dx.Fill(0);
            walk.ForReduced(operand, new BackwardJob(this, operand, dy.Data, dx.Data));
        }
    }

    public override void Flow(ChannelFlow flow)
    {
        foreach (Tensor operand in Inputs) flow.Broadcast(Output, operand);
    }

    private readonly struct ForwardJob(WhereOp op, float* y) : IStretchJob
    {
        public void Run(long row, long start, int count)
        {
            RowWalk walk = op.walk;
            float* c = op.condition.Data + walk.Offset(0, row), a = op.a.Data + walk.Offset(1, row);
            float* b = op.b.Data + walk.Offset(2, row), to = y + row * walk.Inner;
            int ofC = walk.Advances(0) ? 1 : 0, ofA = walk.Advances(1) ? 1 : 0, ofB = walk.Advances(2) ? 1 : 0;
            for (long i = start; i < start + count; i++) to[i] = c[i * ofC] != 0 ? a[i * ofA] : b[i * ofB];
        }
    }

    private readonly struct BackwardJob(WhereOp op, int operand, float* dy, float* dx) : IStretchJob
    {
        public void Run(long row, long start, int count)
        {
            RowWalk walk = op.walk;
            float* c = op.condition.Data + walk.Offset(0, row), from = dy + row * walk.Inner, to = dx + walk.Offset(operand, row);
            int ofC = walk.Advances(0) ? 1 : 0, ofX = walk.Advances(operand) ? 1 : 0;
            for (long i = start; i < start + count; i++) if (c[i * ofC] != 0 == (operand == 1)) to[i * ofX] += from[i];
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="WhereOp"/>
    public static Tensor Where(Tensor condition, Tensor a, Tensor b) => new WhereOp(condition, a, b).Run();
}
