using Espalier.Tensors.Threading;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Tensors;

/// <summary>
/// Each row with a vector of its image: y[r] = x[r] · v[image of r] + bias[image of r]. x [rows, D], v [images, D], bias [images]
/// or [images, 1], or none -> y [rows]. It scores tokens by what an image asks of them.
/// </summary>
public sealed unsafe class RowDotOp : Op
{
    /// <summary>Multiply-adds that make up for waking a thread.</summary>
    private const int WorthAThread = 1 << 16;

    private readonly Tensor x, v;
    private readonly Tensor? bias;
    private readonly RowSet rows;
    private readonly int width;

    public RowDotOp(Tensor x, Tensor v, Tensor? bias = null) : base(x, v, bias)
    {
        rows = x.Rows ?? throw new ArgumentException($"RowDot: x {x.Shape} has no row set");
        if (x.Rank != 2 || v.Shape != new Shape(rows.Images, x.Shape[1]) || (bias is not null && bias.Length != rows.Images))
            throw new ArgumentException($"RowDot: x {x.Shape}, v {v.Shape} and bias {bias?.Shape} must be [rows, D], [images, D] and [images]");
        (this.x, this.v, this.bias, width) = (x, v, bias, x.Shape[1]);
    }

    public override string Name => "RowDot";

    public override Shape Result => new(rows.Rows);

    public override Cost Cost => new(x.Length, sizeof(float) * (x.Length + v.Length + rows.Rows));

    private protected override RowSet ResultRows() => rows;

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        int grain = Math.Max(1, WorthAThread / Math.Max(1, rows.MaxLength * width));
        fixed (int* starts = rows.Starts)
            Workers.For(rows.Images, grain, new ForwardJob(x.Data, v.Data, bias is null ? null : bias.Data, starts, width, y.Data));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        bool addX = false, addV = false, addBias = false;
        Tensor? dx = Wants(x) ? GradOf(x, out addX) : null, dv = Wants(v) ? GradOf(v, out addV) : null;
        Tensor? db = Wants(bias) ? GradOf(bias!, out addBias) : null;
        if (!addX) dx?.Fill(0);
        if (!addV) dv?.Fill(0);
        if (!addBias) db?.Fill(0);
        for (int b = 0; b < rows.Images; b++)
        {
            Span<float> vector = Row(v, b), dVector = dv is null ? [] : Row(dv, b);
            for (int r = rows[b]; r < rows[b + 1]; r++)
            {
                float d = dy.Data[r];
                if (dx is not null) TensorPrimitives.MultiplyAdd(vector, d, Row(dx, r), Row(dx, r));
                if (dv is not null) TensorPrimitives.MultiplyAdd(Row(x, r), d, dVector, dVector);
                if (db is not null) db.Data[b] += d;
            }
        }
    }

    public override void Flow(ChannelFlow flow)
    {
        flow.Same(x, 1, v, 1);
        flow.Work(x, 1);
    }

    private Span<float> Row(Tensor t, int row) => new(t.Data + (nint)row * width, width);

    private readonly struct ForwardJob(float* x, float* v, float* bias, int* starts, int width, float* y) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int b = start; b < end; b++)
            {
                var vector = new ReadOnlySpan<float>(v + (nint)b * width, width);
                float constant = bias is null ? 0 : bias[b];
                for (int r = starts[b]; r < starts[b + 1]; r++)
                    y[r] = constant + TensorPrimitives.Dot(vector, new ReadOnlySpan<float>(x + (nint)r * width, width));
            }
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="RowDotOp"/>
    public static Tensor RowDot(Tensor x, Tensor v, Tensor? bias = null) => new RowDotOp(x, v, bias).Run();
}
