using Espalier.Compression;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression;

/// <summary>A small transformer, plain or distilled, and what PyTorch gives where its tokens are merged, dropped or sampled: made
/// by tests/goldens/make_tokens.py.</summary>
internal sealed class TokenGolden(string network)
{
    private static readonly Checkpoint All =
        Safetensors.Read(Path.Combine(AppContext.BaseDirectory, "Goldens", "Tokens", "tokens.safetensors"));

    public Model Model()
    {
        var vit = new VisionTransformer(TokenNets.Small with { Distilled = network == "distilled" });
        foreach (var (name, p) in vit.NamedParameters()) All[$"{network}/weights/{name}"].Data.CopyTo(p.Span);
        return Espalier.Model.FromModule(vit);
    }

    /// <summary>Runs a network that a method was applied to: its logits are PyTorch's, and so is what is wanted of each row of
    /// the nodes that are stages.</summary>
    public void Check(string name, Action<Graph> apply, Func<GraphValue, bool> isStage, Func<Tensor, int, float> ofRow)
    {
        using Model model = Model();
        using var scope = new Scope();
        apply(model.Graph);
        NamedArray images = All["images"];
        var stages = new List<float[][]>();
        Tensor logits = model.Graph.Run([Tensor.From(new Shape(images.Shape), images.Data)], look: (value, t) =>
        {
            if (!isStage(value)) return;
            stages.Add([.. Enumerable.Range(0, 3).Select(b =>
                Enumerable.Range(t.Rows![b], t.Rows.Length(b)).Select(row => ofRow(t, row)).ToArray())]);
        })[0];
        for (int s = 0; s < stages.Count; s++)
        {
            NamedArray expected = All[$"{network}/{name}/stage{s}"];
            for (int b = 0; b < 3; b++)
            {
                float[] row = [.. expected.Data.Skip(b * expected.Shape[1]).Take(expected.Shape[1]).Where(v => v > -9)];
                Assert.Equal(row.Length, stages[s][b].Length);
                for (int i = 0; i < row.Length; i++) Assert.Equal(row[i], stages[s][b][i], 1e-4f);
            }
        }
        Assert.False(All.Arrays.ContainsKey($"{network}/{name}/stage{stages.Count}"),
            $"{name} has more than {stages.Count} stages");
        float[] wanted = All[$"{network}/{name}/logits"].Data, actual = logits.ToArray();
        for (int i = 0; i < wanted.Length; i++) Assert.Equal(wanted[i], actual[i], 1e-4f);
    }

    /// <summary>The same of methods that keep tokens: which stay.</summary>
    public void CheckKept(string name, TokenMethod method) =>
        Check(name, method.Apply, v => v.Producer!.Op is KeepRowsOp, (t, row) => t.Rows!.Tokens[row]);
}
