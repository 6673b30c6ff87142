using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// How much the class token of each image attends to each token: the mean over the heads of softmax(q kᵀ · scale). q [images,
/// query columns], one row an image, k [rows, query columns] -> y [rows], which adds up to 1 in each image. It is what EViT
/// (arXiv 2202.07800) and ATS (arXiv 2111.15667) go by.
/// </summary>
public sealed unsafe class ClassAttentionOp : Op, IOfHeads
{
    private readonly Tensor q, k;
    private readonly RowSet rows;
    private Tensor? softmax;

    /// <param name="heads">Their widths of values do not matter.</param>
    public ClassAttentionOp(Tensor q, Tensor k, HeadLayout heads, float scale) : base(q, k)
    {
        rows = k.Rows ?? throw new ArgumentException($"ClassAttention: k {k.Shape} has no row set");
        if (k.Rank != 2 || k.Shape[1] != heads.QueryWidth || q.Shape != new Shape(rows.Images, heads.QueryWidth))
            throw new ArgumentException($"ClassAttention: q {q.Shape} and k {k.Shape} must be [images, columns] and "
                + $"[rows, columns] of {heads}");
        (this.q, this.k, Heads, Scale) = (q, k, heads.OfQueries(), scale);
    }

    public override string Name => "ClassAttention";

    public HeadLayout Heads { get; }

    public float Scale { get; }

    public override Shape Result => new(rows.Rows);

    public override Cost Cost => new(k.Length, sizeof(float) * (q.Length + k.Length + rows.Rows));

    Tensor IOfHeads.Queries => k;

    Tensor IOfHeads.Values => k;

    public override Op On(Tensor?[] operands, RunContext run = default) =>
        new ClassAttentionOp(operands[0]!, operands[1]!, Heads.For(operands[0]!.Shape[-1]), Scale);

    Op IOfHeads.WithHeads(HeadLayout heads) => new ClassAttentionOp(Tensor.Meta(q.Shape.With(-1, heads.QueryWidth), q.Rows),
        Tensor.Meta(k.Shape.With(-1, heads.QueryWidth), k.Rows), heads, Scale);

    protected override void Save(OpSettings settings)
    {
        Heads.Save(settings);
        settings.Set("scale", Scale);
    }

    private protected override RowSet ResultRows() => rows;

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        if (Differentiated) softmax = new Tensor(new Shape(rows.Rows, Heads.Count));
        int[] queries = Queries();
        fixed (int* keyRows = rows.Starts, queryRows = queries)
            ClassShares.Forward(Heads.Over(queryRows, keyRows, rows.Images, Scale), q.Data, Heads.QueryWidth, k.Data,
                Heads.QueryWidth, y.Data, 1, softmax is null ? null : softmax.Data);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        bool addQ = false, addK = false;
        Tensor? dq = Wants(q) ? GradOf(q, out addQ) : null, dk = Wants(k) ? GradOf(k, out addK) : null;
        if (!addQ) dq?.Fill(0);
        if (!addK) dk?.Fill(0);
        int[] queries = Queries();
        fixed (int* keyRows = rows.Starts, queryRows = queries)
            ClassShares.Backward(Heads.Over(queryRows, keyRows, rows.Images, Scale), q.Data, k.Data, softmax!.Data, dy.Data,
                dq is null ? null : dq.Data, dk is null ? null : dk.Data);
    }

    public override void Flow(ChannelFlow flow)
    {
        flow.Same(k, -1, q, -1);
        flow.Work(k, -1);
    }

    private int[] Queries() => [.. Enumerable.Range(0, rows.Images + 1)];
}

public static partial class F
{
    /// <inheritdoc cref="ClassAttentionOp"/>
    public static Tensor ClassAttention(Tensor q, Tensor k, HeadLayout heads, float scale) =>
        new ClassAttentionOp(q, k, heads, scale).Run();
}
