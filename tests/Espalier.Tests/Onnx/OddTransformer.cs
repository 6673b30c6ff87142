using Espalier.Tensors;

namespace Espalier.Tests.Onnx;

/// <summary>A transformer whose blocks have different heads, query, value and hidden widths, one of them heads of unequal
/// widths.</summary>
internal sealed class OddTransformer
{
    private const int Width = 20, Classes = 5;

    private static readonly HeadLayout[] Heads =
        [HeadLayout.Uniform(3, 4), new HeadLayout([2, 7, 5], [6, 1, 9]), HeadLayout.Uniform(2, 6, 3)];

    private static readonly int[] Hidden = [30, 8, 17];

    private readonly Dictionary<string, Tensor> weights = [];

    public OddTransformer()
    {
        Add("patches.weight", Width, 3, 2, 2);
        Add("patches.bias", Width);
        Add("positions", 1, 17, Width);
        Add("class", 1, 1, Width);
        for (int i = 0; i < Heads.Length; i++)
        {
            Layer($"blocks.{i}.norm1", Width);
            Layer($"blocks.{i}.query", Heads[i].QueryWidth, Width);
            Layer($"blocks.{i}.key", Heads[i].QueryWidth, Width);
            Layer($"blocks.{i}.value", Heads[i].ValueWidth, Width);
            Layer($"blocks.{i}.out", Width, Heads[i].ValueWidth);
            Layer($"blocks.{i}.norm2", Width);
            Layer($"blocks.{i}.fc1", Hidden[i], Width);
            Layer($"blocks.{i}.fc2", Width, Hidden[i]);
        }
        Layer("norm", Width);
        Layer("head", Classes, Width);
    }

    public IEnumerable<(string Name, Tensor Value)> Weights => weights.Select(w => (w.Key, w.Value));

    /// <summary>[N, 3, 8, 8] -> [N, 5].</summary>
    public Tensor Forward(Tensor images)
    {
        Tensor patches = F.Linear(F.PatchesToRows(images, 2), F.Flatten(weights["patches.weight"]), weights["patches.bias"]);
        Tensor x = F.AssembleTokens(patches, weights["positions"], weights["class"]);
        for (int i = 0; i < Heads.Length; i++)
        {
            string name = $"blocks.{i}";
            Tensor norm = Norm($"{name}.norm1", x);
            Tensor mixed = F.Attention(
                Linear($"{name}.query", norm), Linear($"{name}.key", norm), Linear($"{name}.value", norm), Heads[i], 0.4f);
            x = F.Add(Linear($"{name}.out", mixed), x);
            x = F.Add(Linear($"{name}.fc2", F.Gelu(Linear($"{name}.fc1", Norm($"{name}.norm2", x)))), x);
        }
        return Linear("head", Norm("norm", F.TakeRows(x, 0)));
    }

    public static Tensor Values(Shape shape, ulong seed = 4)
    {
        var t = new Tensor(shape);
        var rng = new Rng(seed);
        foreach (ref float x in t.Span) x = rng.NextFloat(-1, 1);
        return t;
    }

    private Tensor Linear(string name, Tensor x) => F.Linear(x, weights[$"{name}.weight"], weights[$"{name}.bias"]);

    private Tensor Norm(string name, Tensor x) => F.LayerNorm(x, weights[$"{name}.weight"], weights[$"{name}.bias"], 1e-6f);

    private void Layer(string name, params int[] shape)
    {
        Add($"{name}.weight", shape);
        Add($"{name}.bias", shape[0]);
    }

    private void Add(string name, params int[] shape) => weights.Add(name, Values(new Shape(shape), (ulong)weights.Count));
}
