using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Multi-head attention within each image of a packed batch: softmax(q kᵀ · scale) v, head by head.
/// q, k, v [rows, heads · d] -> y [rows, heads · d]. Images never see one another, and nothing is padded.
/// </summary>
public sealed unsafe class AttentionOp : Op
{
    private readonly Tensor q, k, v;
    private readonly RowSet offsets;
    private readonly int heads;
    private readonly float scale;
    private readonly int rows, width;
    private Tensor? softmax;

    /// <param name="scale">What scores are multiplied by: 1/sqrt(d) of the unpruned head.</param>
    public AttentionOp(Tensor q, Tensor k, Tensor v, RowSet offsets, int heads, float scale) : base(q, k, v)
    {
        if (q.Rank != 2 || k.Shape != q.Shape || v.Shape != q.Shape || q.Shape[0] != offsets.Rows || q.Shape[1] % heads != 0)
            throw new ArgumentException(
                $"Attention: q {q.Shape}, k {k.Shape}, v {v.Shape} with {offsets.Rows} rows in {heads} heads do not fit together");
        (this.q, this.k, this.v, this.offsets, this.heads, this.scale) = (q, k, v, offsets, heads, scale);
        (rows, width) = (q.Shape[0], q.Shape[1]);
    }

    /// <summary>Over the row sets of the operands: queries may be of fewer rows than keys.</summary>
    internal static Op Of(Tensor q, Tensor k, Tensor v, int heads, float scale)
    {
        if (q.Rows is not { } queries || k.Rows is not { } keys) throw new ArgumentException("Attention: q and k have no row sets");
        return ReferenceEquals(queries, keys) || queries.Equals(keys)
            ? new AttentionOp(q, k, v, keys, heads, scale) : new PrefixAttentionOp(q, k, v, keys, heads, scale);
    }

    public override string Name => "Attention";

    public override Shape Result => q.Shape;

    public override Op On(Tensor?[] operands, RunContext run = default) => Of(operands[0]!, operands[1]!, operands[2]!, heads, scale);

    protected override void Save(OpSettings settings) => settings.Set("heads", heads).Set("scale", scale);

    public override Cost Cost
    {
        get
        {
            long pairs = 0;
            for (int b = 0; b < offsets.Images; b++) pairs += (long)offsets.Length(b) * offsets.Length(b);
            return new Cost(2 * pairs * width, sizeof(float) * 4L * rows * width);
        }
    }

    protected override Tensor Forward()
    {
        var y = new Tensor(q.Shape);
        if (Differentiated) softmax = new Tensor(new Shape(rows, heads, 2));
        fixed (int* starts = offsets.Starts)
        {
            var shape = new AttentionHeads(starts, offsets.Images, heads, width / heads, scale);
            Attention.Forward(shape, q.Data, width, k.Data, width, v.Data, width, y.Data, width, softmax is null ? null : softmax.Data);
        }
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (!Wants(q) || !Wants(k) || !Wants(v))
            throw new InvalidOperationException("Attention: q, k and v want gradients together or not at all");
        // One kernel writes all three; where a gradient is already there (never in a transformer) they are added after.
        Tensor dq = Part(q), dk = Part(k), dv = Part(v);
        fixed (int* starts = offsets.Starts)
        {
            var shape = new AttentionHeads(starts, offsets.Images, heads, width / heads, scale);
            Attention.Backward(shape, q.Data, width, k.Data, width, v.Data, width, Output.Data, width, softmax!.Data,
                dy.Data, width, dq.Data, width, dk.Data, width, dv.Data, width);
        }
        AddPart(q, dq);
        AddPart(k, dk);
        AddPart(v, dv);
    }

    /// <summary>Heads are removed whole: their d channels in q, k, v and y go together.</summary>
    public override void Flow(ChannelFlow flow)
    {
        int d = width / heads;
        foreach (Tensor input in Inputs) flow.Couple(Output, 1, 0, d, input, 1, 0, d, heads);
        flow.Work(Output, 1);
    }
}

public static partial class F
{
    /// <inheritdoc cref="AttentionOp"/>
    public static Tensor Attention(Tensor q, Tensor k, Tensor v, RowSet offsets, int heads, float scale) =>
        new AttentionOp(q, k, v, offsets, heads, scale).Run();
}
