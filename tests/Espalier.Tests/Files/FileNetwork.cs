using System.Text;
using System.Text.Json;
using Espalier.Files;
using Espalier.Formats;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Files;

/// <summary>
/// A small network with what files of graphs have to say: maps and token rows, lists of channels, branches, operands that are
/// left out, lists among the settings. [B, 3, 8, 8] -> [B, 5].
/// </summary>
internal sealed class FileNetwork : IDisposable
{
    private readonly Dictionary<string, Tensor> weights = [];

    public FileNetwork()
    {
        using (new Scope()) Forward(Images(2));     // makes the weights
        weights["select"].Span.Clear();
        foreach (string list in new[] { "select", "scatter" })
            for (int i = 0; i < 4; i++) weights[list].Span[i] = 2 * i + (list == "select" ? 1 : 0);
        Graph = Graph.Trace(Forward, new Shape(2, 3, 8, 8), weights.Select(w => (w.Key, w.Value)));
    }

    public Graph Graph { get; }

    public static Tensor Images(int count)
    {
        var rng = new Rng(7, (ulong)count);
        var images = new Tensor(new Shape(count, 3, 8, 8));
        Init.Normal(images, 1, ref rng);
        return images;
    }

    /// <summary>With the weights of another graph's shapes.</summary>
    public static Graph Read(string json, Graph like) =>
        Read(json, like.Weights.ToDictionary(w => w.Key, w => w.Value.Shape.ToArray()),
            name => like.Weights[name].Tensor.ToArray());

    public static Graph Read(string json, IReadOnlyDictionary<string, int[]> shapes, Func<string, float[]> read)
    {
        const string source = "model.safetensors";
        using JsonDocument document = ReadGuard.Run(source, () => StrictJson.Parse(json, 1 << 24));
        return GraphFile.Read(document.RootElement, source, shapes, read);
    }

    public static string ToJson(Graph graph)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer)) GraphFile.Write(writer, graph);
        return Encoding.UTF8.GetString(buffer.ToArray());
    }

    public void Dispose()
    {
        foreach (Tensor w in weights.Values) w.Dispose();
    }

    private Tensor Weight(string name, params int[] dims)
    {
        if (weights.TryGetValue(name, out Tensor? there)) return there;
        var rng = new Rng((ulong)name.Length, (ulong)name[0], (ulong)name[^1]);
        bool buffer = name is "select" or "scatter" or "mean" or "variance";
        Tensor w = buffer ? Tensor.Unscoped(new Shape(dims)) : Tensor.Parameter(new Shape(dims));
        if (name is "select" or "scatter") for (int i = 0; i < dims[0]; i++) w.Span[i] = i;
        else if (name == "variance") w.Fill(1);
        else Init.Normal(w, 0.5f, ref rng);
        return weights[name] = w;
    }

    private Tensor Forward(Tensor images)
    {
        Tensor x = F.Conv2d(images, Weight("conv.weight", 8, 3, 3, 3), null, 1, 1);
        x = F.Relu(F.BatchNorm2d(x, Weight("gamma", 8), Weight("beta", 8), Weight("mean", 8), Weight("variance", 8), false));
        Tensor some = F.IndexSelect(x, Weight("select", 4));
        some = F.Conv2d(some, Weight("narrow.weight", 4, 1, 3, 3), Weight("narrow.bias", 4), 1, new Padding(0, 2, 1, 1), 1, 4);
        x = F.IndexAdd(x, Weight("shift", 8), Weight("scatter", 4), some);
        x = F.Concat(1, F.MaxPool2d(x, 2, 2), F.AvgPool2d(x, 2, 2));                                            // [B, 16, 4, 4]
        x = F.Flatten(F.Transpose(F.Split(x, 1, 2, -1), 1, 2), 1, 2);
        Tensor rows = F.Linear(F.PatchesToRows(F.Pad(x, [(0, 0), (0, 0)]), 2), Weight("patch.weight", 8, 64));      // 4 patches
        rows = F.AssembleTokens(rows, Weight("positions", 1, 5, 8), Weight("cls", 1, 1, 8));
        Tensor n = F.LayerNorm(rows, Weight("norm.weight", 8), Weight("norm.bias", 8), 1e-6f);
        Tensor mixed = F.Attention(F.Linear(n, Weight("q.weight", 8, 8)), F.Linear(n, Weight("k.weight", 8, 8)),
            F.Linear(n, Weight("v.weight", 8, 8)), HeadLayout.Uniform(2, 4), 0.5f);
        rows = F.Add(F.Linear(mixed, Weight("out.weight", 8, 8), Weight("out.bias", 8)), rows);
        rows = F.KeepRows(rows, F.Slice(rows, 1, 0, 1), KeepRule.AtLeast(-0.25f));
        rows = F.KeepRows(rows, F.Slice(rows, 1, 1, 1), KeepRule.Tokens([0, 1, 3, 4]));
        rows = F.Dropout(rows, 0.3f, new RandomStream(0), training: false);
        Tensor tokens = F.TakeRows(F.Gelu(rows), 0);
        Tensor scores = F.Softmax(F.Mul(F.MatMul(tokens, Weight("direction", 8, 5)), F.Sigmoid(Weight("scale", 1, 5))));
        Tensor pooled = F.Mean(F.Clamp(x, -1, 1), [2, 3]);
        return F.Linear(F.Concat(1, scores, pooled), Weight("fc.weight", 5, 21), Weight("fc.bias", 5));
    }
}
