namespace Espalier.Tensors.Tests.Ops;

/// <summary>Linear, LayerNorm, Attention and the making of tokens against PyTorch; the cases are made by tests/goldens/make_transformer.py.</summary>
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
        ["Attention.oneImage"] = t => F.Attention(t["q"], t["k"], t["v"], RowSet.FromLengths([6]), 1, 0.35f),
        ["Attention.ragged"] = t => F.Attention(t["q"], t["k"], t["v"], RowSet.FromLengths([5, 1, 9, 2]), 3, 0.5f),
        ["Attention.longer"] = t => F.Attention(t["q"], t["k"], t["v"], RowSet.FromLengths([33, 17]), 2, 0.25f),
        ["AssembleTokens.class"] = t => F.AssembleTokens(t["patches"], t["positions"], t["classToken"]),
        ["AssembleTokens.distilled"] = t => F.AssembleTokens(t["patches"], t["positions"], t["classToken"], t["second"]),
        ["PatchesToRows"] = t => F.PatchesToRows(t["x"], 2),
    };

    public static TheoryData<string> Cases => [.. Golden.Cases];

    [Theory, MemberData(nameof(Cases))]
    public void MatchesPyTorch(string name) => Golden.Run(name, Runs[name]);

    [Fact]
    public void EveryEntryHasACase() => Assert.Equal(Golden.Cases.Order(), Runs.Keys.Order());
}
