using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>loss = mean of (x - target)² over all elements. x and target of one shape -> loss [] (a single value).</summary>
public sealed unsafe class MseOp : Op
{
    private readonly Tensor x, target;

    public MseOp(Tensor x, Tensor target) : base(x, target)
    {
        if (x.Shape != target.Shape || x.Length == 0) throw new ArgumentException($"Mse: x {x.Shape} and target {target.Shape}");
        (this.x, this.target) = (x, target);
    }

    public override string Name => "Mse";

    public override Shape Result => new();

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    public override Op On(Tensor?[] operands, RunContext run = default) => new MseOp(operands[0]!, operands[1]!);

    protected override Tensor Forward()
    {
        double sum = 0;
        for (long start = 0; start < x.Length; start += Blocks.Size)
        {
            float distance = TensorPrimitives.Distance<float>(Block(x, start), Block(target, start));
            sum += (double)distance * distance;
        }
        return Tensor.Scalar((float)(sum / x.Length));
    }

    protected internal override void Backward(Tensor dy)
    {
        float scale = 2 * dy.Item() / x.Length;
        if (Wants(x)) AddGrad(x, dx => Blocks.For(x.Length, new Difference(x.Data, target.Data, dx.Data, scale)));
        if (Wants(target)) AddGrad(target, dt => Blocks.For(x.Length, new Difference(target.Data, x.Data, dt.Data, scale)));
    }

    public override void Flow(ChannelFlow flow) => flow.SameShape(x, target);

    private static ReadOnlySpan<float> Block(Tensor t, long start) =>
        new(t.Data + start, (int)Math.Min(Blocks.Size, t.Length - start));

    private readonly struct Difference(float* a, float* b, float* d, float scale) : IBlockJob
    {
        public void Run(long start, int count)
        {
            Span<float> to = new(d + start, count);
            TensorPrimitives.Subtract(new ReadOnlySpan<float>(a + start, count), new ReadOnlySpan<float>(b + start, count), to);
            TensorPrimitives.Multiply(to, scale, to);
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="MseOp"/>
    public static Tensor Mse(Tensor x, Tensor target) => new MseOp(x, target).Run();
}
