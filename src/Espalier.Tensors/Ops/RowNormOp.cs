using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>The Euclidean length of each row: x [rows, D] -> y [rows].</summary>
public sealed unsafe class RowNormOp : Op
{
    private readonly Tensor x;
    private readonly int width;

    public RowNormOp(Tensor x) : base(x)
    {
        if (x.Rank != 2) throw new ArgumentException($"RowNorm: x {x.Shape} must be [rows, D]");
        (this.x, width) = (x, x.Shape[1]);
    }

    public override string Name => "RowNorm";

    public override Shape Result => new(x.Shape[0]);

    public override Cost Cost => new(0, sizeof(float) * (x.Length + x.Shape[0]));

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        Rows.For(x.Shape[0], width, new NormJob(x.Data, width, y.Data));
        return y;
    }

    /// <summary>A row of zeros has no direction, and gets no gradient.</summary>
    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        if (!accumulate) dx.Fill(0);
        for (nint row = 0; row < x.Shape[0]; row++)
        {
            float norm = Output.Data[row];
            if (norm == 0) continue;
            var sum = new Span<float>(dx.Data + row * width, width);
            TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(x.Data + row * width, width), dy.Data[row] / norm, sum, sum);
        }
    }

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 0, x, 0);

    private readonly struct NormJob(float* x, int width, float* y) : IRowJob
    {
        public void Run(long row) => y[row] = TensorPrimitives.Norm(new ReadOnlySpan<float>(x + row * width, width));
    }
}

public static partial class F
{
    /// <inheritdoc cref="RowNormOp"/>
    public static Tensor RowNorm(Tensor x) => new RowNormOp(x).Run();
}
