using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Inverted dropout (Srivastava et al. 2014): each element is set to 0 with probability p and else multiplied by 1 / (1 - p).
/// x of any shape -> y of the same shape. The mask is never stored: it follows from the stream's seed, the number of the
/// call and the element's index, whatever the number of threads.
/// </summary>
public sealed unsafe class DropoutOp : Op
{
    private readonly Tensor x;
    private readonly ulong seed, call;
    private readonly float probability;

    public DropoutOp(Tensor x, float probability, RandomStream stream) : base(x)
    {
        if (probability is not (>= 0 and < 1))
            throw new ArgumentException($"Dropout: probability {probability} is not in [0, 1)");
        (this.x, this.probability, seed, call) = (x, probability, stream.Seed, stream.Next());
    }

    public override string Name => "Dropout";

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    protected override Tensor Forward()
    {
        var y = new Tensor(x.Shape);
        Blocks.For(x.Length, new MaskJob(this, x.Data, y.Data, false));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        Blocks.For(x.Length, new MaskJob(this, dy.Data, dx.Data, accumulate));
    }

    public override void Flow(ChannelFlow flow) => flow.SameShape(Output, x);

    private readonly struct MaskJob(DropoutOp op, float* from, float* to, bool accumulate) : IBlockJob
    {
        // Two elements a draw, 32 bits each: p is met to 2^-32.
        [SkipLocalsInit]
        public void Run(long start, int count)
        {
            var rng = new Rng(op.seed, op.call, (ulong)(start / Blocks.Size));
            uint dropBelow = (uint)(op.probability * 4294967296.0);
            float scale = 1 / (1 - op.probability);
            Span<float> mask = stackalloc float[Blocks.Size];
            for (int i = 0; i < count; i += 2)
            {
                ulong bits = rng.NextULong();
                mask[i] = (uint)bits >= dropBelow ? scale : 0;
                if (i + 1 < count) mask[i + 1] = (uint)(bits >> 32) >= dropBelow ? scale : 0;
            }
            mask = mask[..count];
            ReadOnlySpan<float> source = new(from + start, count);
            Span<float> target = new(to + start, count);
            if (accumulate) System.Numerics.Tensors.TensorPrimitives.MultiplyAdd(source, mask, target, target);
            else System.Numerics.Tensors.TensorPrimitives.Multiply(source, mask, target);
        }
    }
}

public static partial class F
{
    /// <summary>Dropout while training; x itself at other times and for p = 0.</summary>
    /// <inheritdoc cref="DropoutOp"/>
    public static Tensor Dropout(Tensor x, float probability, RandomStream stream, bool training = true) =>
        training && probability != 0 ? new DropoutOp(x, probability, stream).Run() : x;
}
