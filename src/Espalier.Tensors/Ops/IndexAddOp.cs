using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors;

/// <summary>
/// Adds a narrow branch to some channels of a wide stream: y[:, c] = x[:, c] + shift[c], then y[:, index[k]] += branch[:, k].
/// x [N, C, ..], shift [C], index [K] (different channel numbers), branch [N, K, ..] -> y [N, C, ..]. With it the last
/// convolution of a residual block may lose filters while the stream stays whole; shift is what the lost ones emit (Soft Filter
/// Pruning, arXiv 1808.06866).
/// </summary>
public sealed unsafe class IndexAddOp : Op
{
    private readonly Tensor x, shift, index, branch;
    // Of each channel its place in the list, and of each place its channel.
    private readonly int[] places, channels;
    private readonly int plane;

    public IndexAddOp(Tensor x, Tensor shift, Tensor index, Tensor branch) : base(x, shift, index, branch)
    {
        if (x.Rank < 2 || shift.Shape != new Shape(x.Shape[1]) || index.Rank != 1
            || branch.Shape != x.Shape.With(1, index.Shape[0]))
        {
            throw new ArgumentException($"IndexAdd: x {x.Shape}, shift {shift.Shape}, index {index.Shape} and branch "
                + $"{branch.Shape} must be [N, C, ..], [C], [K] and [N, K, ..]");
        }
        (this.x, this.shift, this.index, this.branch) = (x, shift, index, branch);
        places = ChannelList.Places(index, x.Shape[1], Name);
        channels = new int[index.Shape[0]];
        for (int c = 0; c < places.Length; c++) if (places[c] >= 0) channels[places[c]] = c;
        plane = ChannelList.Plane(x.Shape);
    }

    public override string Name => "IndexAdd";

    /// <summary>The list of channels, [K].</summary>
    public Tensor Index => index;

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * (2 * x.Length + branch.Length));

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        if (plane == 1) Workers.For(x.Shape[0], Grain.For(2L * x.Shape[1]), new AddRows(this, x.Data, branch.Data, y.Data));
        else Rows.For((long)x.Shape[0] * x.Shape[1], plane, new AddJob(this, x.Data, branch.Data, y.Data));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (Wants(shift))
        {
            Tensor d = GradOf(shift, out bool accumulate);
            if (!accumulate) d.Fill(0);
            ChannelSum.Run(dy.Data, x.Shape[0], x.Shape[1], plane, d.Data);
        }
        if (Wants(branch))
        {
            Tensor db = GradOf(branch, out bool add);
            if (plane == 1) Workers.For(x.Shape[0], Grain.For(x.Shape[1]), new BackRows(this, dy.Data, db.Data, add));
            else Rows.For((long)x.Shape[0] * x.Shape[1], plane, new BackJob(this, dy.Data, db.Data, add));
        }
        // Last, since it may take the memory of dy.
        if (Wants(x)) PassGrad(x, dy);
    }

    /// <summary>
    /// The branch's channels go with the entries of the list. The stream's stay: the list holds their numbers.
    /// </summary>
    public override void Flow(ChannelFlow flow)
    {
        flow.Same(branch, 1, index, 0, ChannelRole.Index);
        flow.Same(Output, 1, shift, 0, ChannelRole.Shift);
        flow.SameShape(Output, x);
        flow.Fix(x, 1, "a narrow branch is added to them by a list of channels");
        for (int i = 0; i < x.Rank; i++)
            if (i != 1) flow.Same(Output, i, branch, i);
    }

    /// <summary>Where the branch's plane is that belongs to one of the stream's, or -1.</summary>
    private long Place(long row)
    {
        int place = places[row % x.Shape[1]];
        return place < 0 ? -1 : (row / x.Shape[1] * index.Shape[0] + place) * plane;
    }

    /// <summary>The same of token rows, whose channels are side by side.</summary>
    private readonly struct AddRows(IndexAddOp op, float* x, float* branch, float* y) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            int width = op.x.Shape[1], narrow = op.index.Shape[0];
            for (nint row = start; row < end; row++)
            {
                float* to = y + row * width, from = branch + row * narrow;
                TensorPrimitives.Add(new ReadOnlySpan<float>(x + row * width, width), op.shift.Span, new Span<float>(to, width));
                for (int k = 0; k < narrow; k++) to[op.channels[k]] += from[k];
            }
        }
    }

    private readonly struct BackRows(IndexAddOp op, float* dy, float* dBranch, bool accumulate) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            int width = op.x.Shape[1], narrow = op.index.Shape[0];
            for (nint row = start; row < end; row++)
            {
                float* from = dy + row * width, to = dBranch + row * narrow;
                for (int k = 0; k < narrow; k++) to[k] = from[op.channels[k]] + (accumulate ? to[k] : 0);
            }
        }
    }

    private readonly struct AddJob(IndexAddOp op, float* x, float* branch, float* y) : IRowJob
    {
        public void Run(long row)
        {
            long place = op.Place(row);
            Span<float> to = new(y + row * op.plane, op.plane);
            TensorPrimitives.Add(new ReadOnlySpan<float>(x + row * op.plane, op.plane), op.shift.Data[row % op.x.Shape[1]], to);
            if (place >= 0) TensorPrimitives.Add(to, new ReadOnlySpan<float>(branch + place, op.plane), to);
        }
    }

    private readonly struct BackJob(IndexAddOp op, float* dy, float* dBranch, bool accumulate) : IRowJob
    {
        public void Run(long row)
        {
            long place = op.Place(row);
            if (place < 0) return;
            ReadOnlySpan<float> from = new(dy + row * op.plane, op.plane);
            Span<float> to = new(dBranch + place, op.plane);
            if (accumulate) TensorPrimitives.Add(from, to, to);
            else from.CopyTo(to);
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="IndexAddOp"/>
    public static Tensor IndexAdd(Tensor x, Tensor shift, Tensor index, Tensor branch) =>
        new IndexAddOp(x, shift, index, branch).Run();
}
