namespace Espalier.Tensors;

/// <summary>
/// The token rows that enter a vision transformer: for each image the class token (and a second prefix token, if any), then
/// its patches, with position embeddings added. patches [B·N, D], positions [1, T, D], class and second token [1, 1, D]
/// -> [B·T, D], T = N + 1 or N + 2.
/// </summary>
public sealed unsafe class AssembleTokensOp : Op
{
    private readonly Tensor patches, positions;
    private readonly Tensor[] prefix;
    private readonly int images, tokens, width;

    public AssembleTokensOp(Tensor patches, Tensor positions, Tensor classToken, Tensor? secondToken = null)
        : base(patches, positions, classToken, secondToken)
    {
        prefix = secondToken is null ? [classToken] : [classToken, secondToken];
        (this.patches, this.positions) = (patches, positions);
        if (patches.Rank != 2 || positions.Rank != 3 || positions.Shape[2] != patches.Shape[1]
            || Array.Exists(prefix, t => t.Length != patches.Shape[1]) || positions.Shape[1] <= prefix.Length
            || patches.Shape[0] % (positions.Shape[1] - prefix.Length) != 0)
        {
            throw new ArgumentException($"AssembleTokens: patches {patches.Shape}, positions {positions.Shape}, class token {classToken.Shape}");
        }
        (tokens, width) = (positions.Shape[1], patches.Shape[1]);
        images = patches.Shape[0] / (tokens - prefix.Length);
    }

    public override string Name => "AssembleTokens";

    public override Shape Result => new(images * tokens, width);

    public override Cost Cost => new(0, sizeof(float) * (2L * images * tokens + tokens) * width);

    private protected override RowSet ResultRows() => RowSet.Uniform(images, tokens);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        for (int row = 0; row < images * tokens; row++)
        {
            int t = row % tokens;
            System.Numerics.Tensors.TensorPrimitives.Add(Source(row), Row(positions.Data, t), Row(y.Data, row));
        }
        return y;

        ReadOnlySpan<float> Source(int row) => row % tokens < prefix.Length
            ? Row(prefix[row % tokens].Data, 0)
            : Row(patches.Data, PatchRow(row));
    }

    protected internal override void Backward(Tensor dy)
    {
        if (Wants(patches)) AddGrad(patches, d => ForEachRow((row, t) =>
        {
            if (t >= prefix.Length) Row(dy.Data, row).CopyTo(Row(d.Data, PatchRow(row)));
        }));
        if (Wants(positions)) Accumulate(positions, dy, t => t);
        for (int i = 0; i < prefix.Length; i++)
        {
            int own = i;
            if (Wants(prefix[i])) Accumulate(prefix[i], dy, t => t == own ? 0 : -1);
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

    private int PatchRow(int row) => row / tokens * (tokens - prefix.Length) + row % tokens - prefix.Length;

    private Span<float> Row(float* data, int row) => new(data + (long)row * width, width);
}

public static partial class F
{
    /// <inheritdoc cref="AssembleTokensOp"/>
    public static Tensor AssembleTokens(Tensor patches, Tensor positions, Tensor classToken, Tensor? secondToken = null) =>
        new AssembleTokensOp(patches, positions, classToken, secondToken).Run();
}
