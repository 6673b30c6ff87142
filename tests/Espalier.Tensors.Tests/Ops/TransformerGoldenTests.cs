namespace Espalier.Tensors.Tests.Ops;

/// <summary>Linear, LayerNorm, Attention, the making, matching, merging and fusing of tokens against PyTorch; the cases are made
/// by tests/goldens/make_transformer.py.</summary>
public class TransformerGoldenTests
{
    private static readonly Golden Golden = Golden.Open("transformer.safetensors");

    private static readonly Dictionary<string, Func<IReadOnlyDictionary<string, Tensor>, Tensor>> Runs = new()
    {
        ["Linear.plain"] = t => F.Linear(t["x"], t["w"]),
        ["Linear.bias"] = t => F.Linear(t["x"], t["w"], t["b"]),
        ["Linear.gelu"] = t => F.Linear(t["x"], t["w"], t["b"], gelu: true),
        ["Linear.residual"] = t => F.Linear(t["x"], t["w"], t["b"], t["res"]),
        ["Linear.all"] = t => F.Linear(t["x"], t["w"], t["b"], t["res"], gelu: true),
        ["LayerNorm"] = t => F.LayerNorm(t["x"], t["gamma"], t["beta"], 1e-5f),
        ["Attention.oneImage"] = t => Attend(t, [6], HeadLayout.Uniform(1, 8), 0.35f),
        ["Attention.ragged"] = t => Attend(t, [5, 1, 9, 2], HeadLayout.Uniform(3, 4), 0.5f),
        ["Attention.longer"] = t => Attend(t, [33, 17], HeadLayout.Uniform(2, 16), 0.25f),
        ["Attention.wideValues"] = t => Attend(t, [5, 18], HeadLayout.Uniform(2, 3, 7), 0.6f),
        ["Attention.unequalHeads"] = t => Attend(t, [7, 3], new HeadLayout([4, 9, 1], [2, 5, 17]), 0.5f),
        ["Attention.fewerQueries"] = t => Attend(t, [19, 3], HeadLayout.Uniform(2, 8), 0.4f, [2, 1]),
        ["Attention.otherQueries"] = t => Attend(t, [6, 4], new HeadLayout([5, 3], [2, 6]), 0.4f, [11, 1]),
        ["Attention.causal"] = t => Attend(t, [9, 20], HeadLayout.Uniform(2, 4), 0.5f, mask: AttentionMask.Causal),
        ["Attention.keyMask"] = t => Attend(t, [4, 6, 3], HeadLayout.Uniform(2, 4), 0.5f),
        ["Attention.biasOfKeys"] = t => Attend(t, [4, 21], HeadLayout.Uniform(2, 4), 0.5f),
        ["Attention.biasOfPairs"] = t => Attend(t, [17, 17, 17], new HeadLayout([4, 2], [4, 3]), 0.5f),
        ["AssembleTokens.class"] = t => F.AssembleTokens(t["patches"], t["positions"], t["classToken"]),
        ["AssembleTokens.distilled"] = t => F.AssembleTokens(t["patches"], t["positions"], t["classToken"], t["second"]),
        ["PatchesToRows"] = t => F.PatchesToRows(t["x"], 2),
        ["ClassAttention.uniform"] = t => Shares(t, [5, 9], HeadLayout.Uniform(2, 4), 0.5f),
        ["ClassAttention.unequal"] = t => Shares(t, [3, 1, 7], new HeadLayout([5, 2], [5, 2]), 0.7f),
        ["KeepRows.fused"] = t => F.KeepRows(With(t["x"], 7, 4), t["score"], KeepRule.Share(0.5), fuse: true),
        ["MatchRows.class"] = t => F.MatchRows(With(t["k"], 13), HeadLayout.Uniform(2, 6), 4),
        ["MatchRows.most"] = t => F.MatchRows(With(t["k"], 9), HeadLayout.Uniform(1, 12), 9),
        ["MatchRows.distilled"] = t => F.MatchRows(With(t["k"], 12), HeadLayout.Uniform(3, 4), 3, prefix: 2),
        ["MergeRows.class"] = t => F.MergeRows(With(t["x"], 13), t["plan"], 4, weights: t["weights"]),
        ["MergeRows.most"] = t => F.MergeRows(With(t["x"], 9), t["plan"], 4, weights: t["weights"]),
        ["MergeRows.distilled"] = t => F.MergeRows(With(t["x"], 12), t["plan"], 3, prefix: 2, weights: t["weights"]),
        ["RowMean.class"] = t => F.RowMean(With(t["x"], 5, 3)),
        ["RowMean.all"] = t => F.RowMean(With(t["x"], 4, 1, 6), 0),
        ["RowsToMaps"] = t => F.RowsToMaps(With(t["x"], 8, 8), 2, 2, 3),
        ["MapsToRows.first"] = t => F.MapsToRows(t["x"], t["first"], 2),
        ["MapsToRows.zeros"] = t => F.MapsToRows(t["x"], null, 1),
        ["RowNorm"] = t => F.RowNorm(t["x"]),
    };

    public static TheoryData<string> Cases => [.. Golden.Cases];

    [Theory, MemberData(nameof(Cases))]
    public void MatchesPyTorch(string name) => Golden.Run(name, Runs[name]);

    [Fact]
    public void EveryEntryHasACase() => Assert.Equal(Golden.Cases.Order(), Runs.Keys.Order());

    private static Tensor Shares(IReadOnlyDictionary<string, Tensor> t, int[] keys, HeadLayout heads, float scale) =>
        F.ClassAttention(t["q"], With(t["k"], keys), heads, scale);

    private static Tensor With(Tensor x, params int[] lengths)
    {
        x.Rows = RowSet.FromLengths(lengths);
        return x;
    }

    private static Tensor Attend(
        IReadOnlyDictionary<string, Tensor> t, int[] keys, HeadLayout heads, float scale, int[]? queries = null,
        AttentionMask mask = AttentionMask.None)
    {
        t["k"].Rows = RowSet.FromLengths(keys);
        t["q"].Rows = queries is null ? t["k"].Rows : RowSet.FromLengths(queries);
        return F.Attention(t["q"], t["k"], t["v"], heads, scale, t.GetValueOrDefault("bias"), t.GetValueOrDefault("mask"), mask);
    }
}
