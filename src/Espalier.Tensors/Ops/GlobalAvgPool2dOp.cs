using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>The mean of each plane. x [N, C, H, W] -> y [N, C].</summary>
public sealed unsafe class GlobalAvgPool2dOp : Op
{
    private readonly Tensor x;
    private readonly int area;

    public GlobalAvgPool2dOp(Tensor x) : base(x)
    {
        if (x.Rank != 4 || x.Shape[2] * x.Shape[3] == 0)
            throw new ArgumentException($"GlobalAvgPool2d: x {x.Shape} must be [N, C, H, W] with at least one pixel");
        this.x = x;
        area = x.Shape[2] * x.Shape[3];
    }

    public override string Name => "GlobalAvgPool2d";

    public override Shape Result => new(x.Shape[0], x.Shape[1]);

    public override Cost Cost => new(0, sizeof(float) * (x.Length + x.Length / area));

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        for (long i = 0; i < y.Length; i++)
            y.Data[i] = TensorPrimitives.Sum(new ReadOnlySpan<float>(x.Data + i * area, area)) / area;
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        for (long i = 0; i < dy.Length; i++)
        {
            var plane = new Span<float>(dx.Data + i * area, area);
            float share = dy.Data[i] / area;
            if (accumulate) TensorPrimitives.Add(plane, share, plane);
            else plane.Fill(share);
        }
    }

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 1, x, 1);
}

public static partial class F
{
    /// <inheritdoc cref="GlobalAvgPool2dOp"/>
    public static Tensor GlobalAvgPool2d(Tensor x) => new GlobalAvgPool2dOp(x).Run();
}
