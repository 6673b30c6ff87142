using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Tests.Inference;

/// <summary>Functions of named weights, for sessions of what no preset has.</summary>
internal sealed class GraphNet
{
    private readonly Dictionary<string, Tensor> weights = [];

    /// <summary>The weight of that name, made of noise at its first use: small for bias vectors, near 1 for gains.</summary>
    public Tensor this[string name, params int[] dims]
    {
        get
        {
            if (weights.TryGetValue(name, out Tensor? there)) return there;
            ulong seed = 0;
            foreach (char c in name) seed = seed * 31 + c;
            var rng = new Rng(seed);
            Tensor w = Tensor.Parameter(new Shape(dims));
            float size = dims.Length == 1 ? 0.2f : 1.2f / MathF.Sqrt(w.Length / dims[0]);
            bool gain = name.EndsWith("gain", StringComparison.Ordinal);
            foreach (ref float v in w.Span) v = (gain ? 1 : 0) + size * rng.NextNormal();
            return weights[name] = w;
        }
    }

    public void Set(string name, Tensor weight) => weights[name] = weight;

    public Tensor Linear(Tensor x, string name, int outputs) =>
        F.Linear(x, this[name + ".weight", outputs, x.Shape[-1]], this[name + ".bias", outputs]);

    public Tensor Norm(Tensor x, string name) =>
        F.LayerNorm(x, this[name + ".gain", x.Shape[-1]], this[name + ".bias", x.Shape[-1]], 1e-6f);

    /// <param name="qk">Width of queries, keys and values.</param>
    public Tensor Block(Tensor x, string name, int heads, int qk, int hidden)
    {
        Tensor n = Norm(x, name + ".norm1");
        Tensor q = Linear(n, name + ".q", qk), k = Linear(n, name + ".k", qk), v = Linear(n, name + ".v", qk);
        Tensor mixed = F.Attention(q, k, v, HeadLayout.Uniform(heads, qk / heads), 1 / MathF.Sqrt(qk / heads));
        x = F.Add(x, Linear(mixed, name + ".out", x.Shape[1]));
        return F.Add(x, Linear(F.Gelu(Linear(Norm(x, name + ".norm2"), name + ".fc1", hidden)), name + ".fc2", x.Shape[1]));
    }

    /// <summary>[B, C, 4g, 4g] -> token rows of so many channels.</summary>
    public Tensor Embed(Tensor images, int width)
    {
        int patches = images.Shape[2] / 4 * (images.Shape[3] / 4);
        Tensor rows = Linear(F.PatchesToRows(images, 4), "patches", width);
        return F.AssembleTokens(rows, this["positions", 1, patches + 1, width], this["class token", 1, 1, width]);
    }

    /// <summary>Rows are scored by what the class token asks.</summary>
    public Tensor Score(Tensor x, string name)
    {
        Tensor direction = Linear(F.TakeRows(x, 0), name, x.Shape[1]);
        return F.Neg(F.Sigmoid(F.RowDot(x, direction, Linear(F.TakeRows(x, 0), name + ".shift", 1))));
    }

    public Tensor Classify(Tensor x, int classes = 5) => Linear(F.TakeRows(Norm(x, "norm"), 0), "head", classes);

    /// <param name="input">With two images.</param>
    public Graph Trace(Func<Tensor, Tensor> forward, params int[] input)
    {
        using (var scope = new Scope()) forward(Tensor.Zeros(new Shape(input)));     // makes the weights
        return Graph.Trace(forward, new Shape(input), weights.Select(w => (w.Key, w.Value)));
    }

    public static Tensor Noise(Shape shape, ulong seed = 5)
    {
        var rng = new Rng(seed);
        var t = new Tensor(shape);
        foreach (ref float v in t.Span) v = rng.NextNormal();
        return t;
    }

    /// <summary>A session gives what the graph gives, for one image and for more.</summary>
    public static void AssertSame(Graph graph, SessionOptions? options = null, double tolerance = 1e-4)
    {
        using var session = new Session(graph, options);
        foreach (int count in (int[])[3, 1, 16])
        {
            using var scope = new Scope();
            Tensor images = Noise(graph.Inputs[0].Shape.With(0, count));
            float[] expected = graph.Run(images).ToArray(), actual = new float[expected.Length];
            session.Run(images.Span, count, actual);
            SessionModel.AssertClose(expected, actual, tolerance);
        }
    }
}
