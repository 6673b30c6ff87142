using System.Globalization;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.DynamicVit;

/// <summary>
/// Says of each token whether it is worth keeping, by what it is and by what its image is (arXiv 2106.02034, section 3.2): of
/// z = GELU(Linear(LN(x))) one half is the token's own, the mean of the other over the tokens that are left is the image's; a small
/// MLP makes of both the logits of "keep" and "drop". In a graph it scores the rows in front of a block.
/// </summary>
internal sealed class TokenPredictor
{
    private const string Prefix = "score_predictor.";

    /// <summary>PyTorch's, which the published code has here.</summary>
    private const float Epsilon = 1e-5f;

    private static readonly string[] Names = [.. new[] { "in_conv.0", "in_conv.1", "out_conv.0", "out_conv.2", "out_conv.4" }
        .SelectMany(layer => new[] { $"{layer}.weight", $"{layer}.bias" })];

    private readonly Tensor[] weights;

    private TokenPredictor(Tensor[] weights) => this.weights = weights;

    /// <summary>A new one for tokens of a width.</summary>
    public static TokenPredictor Create(int width, ref Rng rng)
    {
        int[] widths = [width, width, width / 2, width / 4, 2];
        var weights = new List<Tensor>();
        for (int layer = 0; layer < widths.Length; layer++)
        {
            Tensor weight = Tensor.Parameter(layer == 0 ? new Shape(width) : new Shape(widths[layer], widths[layer - 1]));
            Tensor bias = Tensor.Parameter(new Shape(widths[layer]));
            if (layer == 0) weight.Fill(1);
            else Init.TruncatedNormal(weight, 0.02f, ref rng);
            bias.Fill(0);
            weights.AddRange([weight, bias]);
        }
        return new TokenPredictor([.. weights]);
    }

    /// <summary>The predictors of a network, in the order in which they act, each with the node where rows are dropped by its
    /// score.</summary>
    public static IReadOnlyList<(TokenPredictor Predictor, GraphNode Keep)> Find(Graph graph) =>
    [
        .. graph.Nodes.Where(n => n.Op is KeepRowsOp && Names.All(w => graph.Weights.ContainsKey($"{n.Name}.{w}")))
            .Select(n => (new TokenPredictor([.. Names.Select(w => graph.Weights[$"{n.Name}.{w}"].Tensor)]), n)),
    ];

    /// <summary>Its weights.</summary>
    public IReadOnlyList<Tensor> Weights => weights;

    /// <summary>Puts it behind a value of a network, which owns its weights from now on.</summary>
    /// <param name="stream">Token rows [rows, D].</param>
    /// <param name="stage">Which of the network's it is, from 0.</param>
    /// <param name="prefix">Tokens of each image that always stay.</param>
    public void InsertInto(Graph graph, GraphValue stream, int stage, KeepRule rule, int prefix)
    {
        string name = Prefix + stage.ToString(CultureInfo.InvariantCulture);
        graph.InsertAfter(stream, x =>
        {
            Tensor kept = F.KeepRows(x, Logits(x, null, prefix, 0), rule, prefix);
            kept.Name = name;
            return kept;
        }, Names.Zip(weights, (key, w) => ($"{name}.{key}", w)));
    }

    /// <summary>log p(keep) - log p(drop) of each row: x [rows, D] -> [rows, 1]. What only compares tokens, or draws one of two,
    /// needs no more than the difference.</summary>
    /// <param name="mask">[rows, 1]: 1 for tokens that are still there, 0 for others; null where all are.</param>
    /// <param name="patches">Tokens behind those in front that an image has at most; asked for with a mask only.</param>
    public Tensor Logits(Tensor x, Tensor? mask, int prefix, int patches)
    {
        int width = weights[0].Shape[0], half = width / 2;
        Tensor z = F.Gelu(F.Linear(F.LayerNorm(x, weights[0], weights[1], Epsilon), weights[2], weights[3]));
        Tensor own = F.Slice(z, 1, 0, half), shared = F.Slice(z, 1, half, width - half);
        Tensor image = mask is null ? F.RowMean(shared, prefix) : OfImage(shared, mask, prefix, patches);
        Tensor u = F.Gelu(F.Linear(F.Concat(1, own, image), weights[4], weights[5]));
        Tensor both = F.Linear(F.Gelu(F.Linear(u, weights[6], weights[7])), weights[8], weights[9]);
        return F.Slice(both, 1, 0, 1) - F.Slice(both, 1, 1, 1);
    }

    /// <summary>The mean over the tokens that are there, on each row. Where none is, what is divided by is half a token's part: the
    /// mean is zero, and its gradient no infinity.</summary>
    internal static Tensor OfImage(Tensor x, Tensor mask, int prefix, int patches) =>
        F.RowMean(x * mask, prefix) / F.Clamp(F.RowMean(mask, prefix), 0.5f / patches, float.MaxValue);
}

/// <summary>
/// Draws whether each token is kept, as Gumbel-softmax does for two classes with temperature 1: p = sigmoid(logit + noise), the
/// result is 1 where p is at least 1/2 and else 0, while gradients pass as if it were p (straight-through). The difference of two
/// Gumbel noises is logistic, so that one number a token is enough. logits [rows, 1] -> [rows, 1]; tokens in front are kept.
/// </summary>
/// <param name="noise">Of a stage, as many numbers as it has rows.</param>
internal sealed unsafe class DecideOp(Tensor logits, int stage, int prefix, Func<int, int, float[]> noise) : Op(logits)
{
    private readonly Tensor logits = logits;
    private float[] soft = [];

    public override string Name => "Decide";

    public override Shape Result => logits.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * logits.Length);

    /// <summary>The probability that a token is kept, its noise given.</summary>
    public static float Soft(float logit, float noise) => 1 / (1 + MathF.Exp(-(logit + noise)));

    public override Op On(Tensor?[] operands, RunContext run = default) => new DecideOp(operands[0]!, stage, prefix, noise);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        ReadOnlySpan<int> tokens = logits.Rows!.Tokens;
        float[] drawn = noise(stage, tokens.Length);
        soft = new float[tokens.Length];
        for (int i = 0; i < soft.Length; i++)
        {
            // Nothing can be learnt of a certainty.
            soft[i] = tokens[i] < prefix ? 1 : Soft(logits.Data[i], drawn[i]);
            y.Data[i] = soft[i] >= 0.5f ? 1 : 0;
        }
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor d = GradOf(logits, out bool accumulate);
        if (!accumulate) d.Fill(0);
        for (int i = 0; i < soft.Length; i++) d.Data[i] += dy.Data[i] * soft[i] * (1 - soft[i]);
    }

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 1, logits, 1);
}
