using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Picks channels: y[:, k] = x[:, index[k]]. x [N, C, ..], index [K] (different channel numbers) -> y [N, K, ..]. A network may
/// so read a part of a stream that stays whole (Network Slimming, arXiv 1708.06519).
/// </summary>
public sealed unsafe class IndexSelectOp : Op
{
    private readonly Tensor x, index;
    private readonly int[] places;
    private readonly int plane;

    public IndexSelectOp(Tensor x, Tensor index) : base(x, index)
    {
        if (x.Rank < 2) throw new ArgumentException($"IndexSelect: x {x.Shape} must be [N, C, ..]");
        (this.x, this.index) = (x, index);
        places = ChannelList.Places(index, x.Shape[1], Name);
        plane = ChannelList.Plane(x.Shape);
    }

    public override string Name => "IndexSelect";

    public override Shape Result => x.Shape.With(1, index.Shape[0]);

    public override Cost Cost => new(0, sizeof(float) * 2L * x.Shape[0] * index.Length * plane);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        Rows.For((long)x.Shape[0] * x.Shape[1], plane, new SelectJob(this, x.Data, y.Data));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (!Wants(x)) return;
        Tensor dx = GradOf(x, out bool accumulate);
        Rows.For((long)x.Shape[0] * x.Shape[1], plane, new BackJob(this, dx.Data, dy.Data, accumulate));
    }

    /// <summary>y's channels go with the entries of the list. x's stay: the list holds their numbers.</summary>
    public override void Flow(ChannelFlow flow)
    {
        flow.Same(Output, 1, index, 0, ChannelRole.Index);
        flow.Fix(x, 1, "a list of channels picks from them");
        for (int i = 0; i < x.Rank; i++)
            if (i != 1) flow.Same(Output, i, x, i);
    }

    /// <summary>Where a plane of x is in y, or -1.</summary>
    private long Place(long row)
    {
        (long n, long c) = Math.DivRem(row, x.Shape[1]);
        return places[c] < 0 ? -1 : (n * index.Shape[0] + places[c]) * plane;
    }

    private readonly struct SelectJob(IndexSelectOp op, float* x, float* y) : IRowJob
    {
        public void Run(long row)
        {
            long place = op.Place(row);
            if (place >= 0) new ReadOnlySpan<float>(x + row * op.plane, op.plane).CopyTo(new Span<float>(y + place, op.plane));
        }
    }

    private readonly struct BackJob(IndexSelectOp op, float* dx, float* dy, bool accumulate) : IRowJob
    {
        public void Run(long row)
        {
            long place = op.Place(row);
            Span<float> to = new(dx + row * op.plane, op.plane);
            if (place < 0)
            {
                if (!accumulate) to.Clear();
                return;
            }
            ReadOnlySpan<float> from = new(dy + place, op.plane);
            if (accumulate) TensorPrimitives.Add(from, to, to);
            else from.CopyTo(to);
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="IndexSelectOp"/>
    public static Tensor IndexSelect(Tensor x, Tensor index) => new IndexSelectOp(x, index).Run();
}
