namespace Espalier.Tensors;

/// <summary>
/// The token rows that enter a vision transformer: for each image the tokens that stand in front (class token, distillation
/// token, registers, if any), then its patches, with position embeddings added. patches [B·N, D], positions [1, T, D], prefix
/// tokens [1, k, D] each -> [B·T, D], T = N and all k.
/// </summary>
public sealed unsafe class AssembleTokensOp : Op
{
    private readonly Tensor patches, positions;
    private readonly Tensor[] prefix;
    private readonly int images, tokens, width;

    public AssembleTokensOp(Tensor patches, Tensor positions, params Tensor[] prefix) : base([patches, positions, .. prefix])
    {
        (this.patches, this.positions, this.prefix) = (patches, positions, prefix);
        Prefix = (int)Math.Min(prefix.Sum(t => t.Rank == 3 ? t.Shape[1] : 0L), int.MaxValue);
        if (patches.Rank != 2 || positions.Rank != 3 || positions.Shape[2] != patches.Shape[1]
            || Array.Exists(prefix, t => t.Rank != 3 || t.Shape != new Shape(1, t.Shape[1], patches.Shape[1]))
            || positions.Shape[1] <= Prefix || patches.Shape[0] % (positions.Shape[1] - Prefix) != 0)
        {
            throw new ArgumentException($"AssembleTokens: patches {patches.Shape}, positions {positions.Shape}, in front "
                + string.Join(", ", prefix.Select(t => t.Shape)));
        }
        (tokens, width) = (positions.Shape[1], patches.Shape[1]);
        images = patches.Shape[0] / (tokens - Prefix);
    }

    public override string Name => "AssembleTokens";

    /// <summary>How many tokens of an image stand in front of its patches.</summary>
    public int Prefix { get; }

    public override Shape Result => new(images * tokens, width);

    public override Cost Cost => new(0, sizeof(float) * (2L * images * tokens + tokens) * width);

    private protected override RowSet ResultRows() => RowSet.Uniform(images, tokens);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        for (int row = 0; row < images * tokens; row++)
        {
            int t = row % tokens;
            System.Numerics.Tensors.TensorPrimitives.Add(Source(row, t), Row(positions.Data, t), Row(y.Data, row));
        }
        return y;

        ReadOnlySpan<float> Source(int row, int t)
        {
            foreach (Tensor front in prefix)
            {
                if (t < front.Shape[1]) return Row(front.Data, t);
                t -= front.Shape[1];
            }
            return Row(patches.Data, PatchRow(row));
        }
    }

    protected internal override void Backward(Tensor dy)
    {
        if (Wants(patches)) AddGrad(patches, d => ForEachRow((row, t) =>
        {
            if (t >= Prefix) Row(dy.Data, row).CopyTo(Row(d.Data, PatchRow(row)));
        }));
        if (Wants(positions)) Accumulate(positions, dy, t => t);
        int first = 0;
        foreach (Tensor front in prefix)
        {
            int start = first, count = front.Shape[1];
            if (Wants(front)) Accumulate(front, dy, t => t >= start && t < start + count ? t - start : -1);
            first += count;
        }
    }

    public override void Flow(ChannelFlow flow)
    {
        flow.Same(Output, 1, patches, 1);
        flow.Same(Output, 1, positions, 2);
        foreach (Tensor token in prefix) flow.Same(Output, 1, token, 2);
    }

    private void Accumulate(Tensor input, Tensor dy, Func<int, int> target)
    {
        Tensor d = GradOf(input, out bool accumulate);
        if (!accumulate) d.Fill(0);
        ForEachRow((row, t) =>
        {
            int to = target(t);
            if (to < 0) return;
            Span<float> sum = Row(d.Data, to);
            System.Numerics.Tensors.TensorPrimitives.Add(sum, Row(dy.Data, row), sum);
        });
    }

    private void ForEachRow(Action<int, int> visit)
    {
        for (int row = 0; row < images * tokens; row++) visit(row, row % tokens);
    }

    private int PatchRow(int row) => row / tokens * (tokens - Prefix) + row % tokens - Prefix;

    private Span<float> Row(float* data, int row) => new(data + (long)row * width, width);
}

public static partial class F
{
    /// <inheritdoc cref="AssembleTokensOp"/>
    public static Tensor AssembleTokens(Tensor patches, Tensor positions, params ReadOnlySpan<Tensor> prefix) =>
        new AssembleTokensOp(patches, positions, prefix.ToArray()).Run();
}
