using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Inverted dropout (Srivastava et al. 2014): each element is set to 0 with probability p and else multiplied by 1 / (1 - p).
/// x of any shape -> y of the same shape. The mask is never stored: it follows from the stream's seed, the number of the
/// call and the element's index, whatever the number of threads. Of whole images, where asked for: all values of an image go or
/// stay together, which leaves a residual branch out for it (Stochastic Depth, arXiv 1603.09382; drop path).
/// </summary>
public sealed unsafe class DropoutOp : Op
{
    private readonly Tensor x;
    private readonly ulong seed, call;
    private readonly float probability;
    private readonly bool active;

    /// <param name="stream">Where the masks come from; null for a new one.</param>
    /// <param name="active">False for a graph's place of a dropout outside training: x passes as it is.</param>
    /// <param name="perImage">Whether images go as a whole: the entries of axis 0, or rows of a set.</param>
    public DropoutOp(Tensor x, float probability, RandomStream? stream = null, bool active = true, bool perImage = false) : base(x)
    {
        PerImage = perImage;
        if (probability is not (>= 0 and < 1))
            throw new ArgumentException($"Dropout: probability {probability} is not in [0, 1)");
        (this.x, this.probability, this.active, Stream) = (x, probability, active && probability > 0, stream ?? new RandomStream(0));
        if (this.active) (seed, call) = (Stream.Seed, Stream.Next());
    }

    public float Rate => probability;

    public bool PerImage { get; }

    /// <summary>Ops made by <see cref="On"/> draw from the same one.</summary>
    public RandomStream Stream { get; }

    public override string Name => "Dropout";

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    protected override void Save(OpSettings settings)
    {
        settings.Set("rate", probability);
        if (PerImage) settings.Set("perImage", true);
    }

    /// <summary>Drops in training only.</summary>
    public override Op On(Tensor?[] operands, RunContext run = default) =>
        new DropoutOp(operands[0]!, probability, Stream, run.Training, PerImage);

    protected override Tensor Forward()
    {
        if (!active) return x.View(x.Shape);
        var y = new Tensor(Result);
        Apply(x, y, accumulate: false);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (!active)
        {
            PassGrad(x, dy);
            return;
        }
        Tensor dx = GradOf(x, out bool accumulate);
        Apply(dy, dx, accumulate);
    }

    private void Apply(Tensor from, Tensor to, bool accumulate)
    {
        if (!PerImage)
        {
            Blocks.For(x.Length, new MaskJob(this, from.Data, to.Data, accumulate));
            return;
        }
        int width = (int)(x.Length / Math.Max(1, x.Shape[0])), drawn = -1;
        var rng = new Rng(seed, call);
        float scale = 0;
        for (int row = 0, image = 0; row < x.Shape[0]; row++)
        {
            if (x.Rows is { } rows) while (row >= rows[image + 1]) image++;
            else image = row;
            for (; drawn < image; drawn++) scale = rng.NextFloat() >= probability ? 1 / (1 - probability) : 0;
            ReadOnlySpan<float> source = new(from.Data + (long)row * width, width);
            Span<float> target = new(to.Data + (long)row * width, width);
            if (accumulate) System.Numerics.Tensors.TensorPrimitives.MultiplyAdd(source, scale, target, target);
            else System.Numerics.Tensors.TensorPrimitives.Multiply(source, scale, target);
        }
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
    /// <summary>
    /// Dropout while training; x itself at other times and for p = 0, but where a graph is traced: that has the place of every
    /// dropout.
    /// </summary>
    /// <inheritdoc cref="DropoutOp"/>
    public static Tensor Dropout(Tensor x, float probability, RandomStream stream, bool training = true)
    {
        bool active = training && probability != 0;
        return active || Recording.Current is { Traces: true } ? new DropoutOp(x, probability, stream, active).Run() : x;
    }

    /// <summary>Dropout of whole images, in training: <c>x + DropImages(branch(x))</c> leaves the branch out for some.</summary>
    /// <inheritdoc cref="DropoutOp"/>
    public static Tensor DropImages(Tensor x, float probability, RandomStream stream, bool training = true) =>
        new DropoutOp(x, probability, stream, training && probability != 0, perImage: true).Run();
}
