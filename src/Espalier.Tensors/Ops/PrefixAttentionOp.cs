using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Multi-head attention of a few queries an image, over all rows of the image in a packed batch: what a classifier asks of a
/// transformer's last block. q [images · queries, heads · d], k, v [rows, heads · d] -> y [images · queries, heads · d].
/// </summary>
public sealed unsafe class PrefixAttentionOp : Op
{
    private readonly Tensor q, k, v;
    private readonly RowSet offsets;
    private readonly int heads, queries;
    private readonly float scale;
    private readonly int width;

    /// <param name="scale">What scores are multiplied by: 1/sqrt(d) of the unpruned head.</param>
    public PrefixAttentionOp(Tensor q, Tensor k, Tensor v, RowSet offsets, int heads, float scale) : base(q, k, v)
    {
        if (q.Rank != 2 || k.Rank != 2 || v.Shape != k.Shape || k.Shape[0] != offsets.Rows || q.Shape[1] != k.Shape[1]
            || q.Shape[1] % heads != 0 || offsets.Images == 0 || q.Shape[0] % offsets.Images != 0)
        {
            throw new ArgumentException($"PrefixAttention: q {q.Shape}, k {k.Shape}, v {v.Shape} with {offsets.Images} images of "
                + $"{offsets.Rows} rows in {heads} heads do not fit together");
        }
        for (int b = 0; b < offsets.Images; b++)
            if (offsets.Length(b) == 0) throw new ArgumentException($"PrefixAttention: image {b} has no rows");
        (this.q, this.k, this.v, this.offsets, this.heads, this.scale) = (q, k, v, offsets, heads, scale);
        (queries, width) = (q.Shape[0] / offsets.Images, q.Shape[1]);
    }

    public override string Name => "PrefixAttention";

    public override Shape Result => q.Shape;

    public override Op On(Tensor?[] operands, RunContext run = default) =>
        AttentionOp.Of(operands[0]!, operands[1]!, operands[2]!, heads, scale);

    protected override void Save(OpSettings settings) => settings.Set("heads", heads).Set("scale", scale);

    public override Cost Cost => new(2L * queries * offsets.Rows * width, sizeof(float) * 2L * (q.Shape[0] + offsets.Rows) * width);

    protected override Tensor Forward()
    {
        var y = new Tensor(q.Shape);
        fixed (int* starts = offsets.Starts)
        {
            var shape = new AttentionHeads(starts, offsets.Images, heads, width / heads, scale);
            Attention.ForwardPrefix(shape, queries, q.Data, width, k.Data, width, v.Data, width, y.Data, width);
        }
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        // One kernel writes all three; where a gradient is there already, or not wanted, into a tensor of its own.
        Tensor dq = Part(q), dk = Part(k), dv = Part(v);
        fixed (int* starts = offsets.Starts)
        {
            var shape = new AttentionHeads(starts, offsets.Images, heads, width / heads, scale);
            Attention.BackwardPrefix(shape, queries, q.Data, width, k.Data, width, v.Data, width, dy.Data, width,
                dq.Data, width, dk.Data, width, dv.Data, width);
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
    /// <inheritdoc cref="PrefixAttentionOp"/>
    public static Tensor PrefixAttention(Tensor q, Tensor k, Tensor v, RowSet offsets, int heads, float scale) =>
        new PrefixAttentionOp(q, k, v, offsets, heads, scale).Run();
}
