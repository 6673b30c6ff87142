using System.Globalization;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// A pruning agent of APT: from the class token and one other token it says how probable it is that the token is worthless.
/// q = Wq·class + bq, k = Wk·token + bk, v = Wv·token + bv, logits = Wo·[v, q∘k] + bo; class 0 keeps, class 1 prunes. In a graph it
/// scores the rows that leave a block, and those that it finds worthless are dropped.
/// </summary>
public sealed class TokenAgent
{
    /// <summary>Of the names of all agents' weights, before the agent's number.</summary>
    internal const string Prefix = "transformer.encoder.clip_layer.";

    private static readonly string[] Names =
        ["query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias", "fc.weight", "fc.bias"];

    private readonly Tensor[] weights;
    private readonly int width;

    private TokenAgent(Tensor[] weights) => (this.weights, width) = (weights, weights[0].Shape[1]);

    /// <summary>A new agent for tokens of a width.</summary>
    /// <param name="keepBias">Added to the initial "keep" logit, so that an untrained agent drops nothing.</param>
    public static TokenAgent Create(int width, ref Rng rng, float keepBias = 0)
    {
        Linear query = new(width, width, ref rng), key = new(width, width, ref rng), value = new(width, width, ref rng);
        var output = new Linear(2 * width, 2, ref rng);
        if (keepBias != 0) output.Bias!.Span[0] += keepBias;
        return new TokenAgent([.. new[] { query, key, value, output }.SelectMany(l => new[] { l.Weight, l.Bias! })]);
    }

    /// <summary>Under the names of published checkpoints, without the agent's own.</summary>
    public IEnumerable<(string Name, Tensor Value)> Weights => Names.Zip(weights);

    /// <summary>The agents of a network, in the order in which they act, each with the node where rows are dropped by its score.
    /// </summary>
    public static IReadOnlyList<(TokenAgent Agent, GraphNode Keep)> Find(Graph graph) =>
    [
        .. graph.Nodes.Where(n => n.Op is KeepRowsOp && Names.All(w => graph.Weights.ContainsKey($"{n.Name}.{w}")))
            .Select(n => (new TokenAgent([.. Names.Select(w => graph.Weights[$"{n.Name}.{w}"].Tensor)]), n)),
    ];

    /// <summary>Puts the agent behind a value of a network, which owns its weights from now on.</summary>
    /// <param name="after">Token rows [rows, D], those that leave a block.</param>
    /// <param name="index">Which of the network's agents it is, from 0.</param>
    /// <param name="rule">What is kept by its score.</param>
    /// <param name="prefix">Tokens of each image that always stay.</param>
    public void InsertInto(Graph graph, GraphValue after, int index, KeepRule rule, int prefix)
    {
        string name = Prefix + index.ToString(CultureInfo.InvariantCulture);
        graph.InsertAfter(after, x =>
        {
            Tensor kept = F.KeepRows(x, Score(x), rule, prefix);
            kept.Name = name;
            return kept;
        }, Weights.Select(w => ($"{name}.{w.Name}", w.Value)));
    }

    /// <summary>The logits [n, 2] of n tokens, each with the class token of its image: [n, D] both.</summary>
    public Tensor Logits(Tensor classTokens, Tensor tokens)
    {
        Tensor match = Linear(0, classTokens) * Linear(1, tokens);
        return Linear(3, F.Concat(1, Linear(2, tokens), match));
    }

    /// <summary>
    /// -p(prune) of every token row: x [rows, D] -> [rows]. Only the difference of the two logits matters, and it is linear in the
    /// token: with u = Wo[1] - Wo[0] = [uv, uk] it is (Wvᵀuv + Wkᵀ(uk∘q))·token + const, so that a token costs D multiply-adds and
    /// an image 2 D² for its q and Wkᵀ(uk∘q), instead of the 2 D² a token of the plain form.
    /// </summary>
    public Tensor Score(Tensor x)
    {
        Tensor output = weights[6], outputBias = weights[7];
        Tensor u = F.Slice(output, 0, 1, 1) - F.Slice(output, 0, 0, 1);                                     // [1, 2D]
        Tensor uv = F.Slice(u, 1, 0, width), uk = F.Slice(u, 1, width, width);                              // [1, D]
        Tensor bias = F.Slice(outputBias, 0, 1, 1) - F.Slice(outputBias, 0, 0, 1);                          // [1]
        Tensor shared = F.Linear(uv, F.Split(weights[5], 0, 1, -1), bias);                                  // [1, 1]
        Tensor scaled = Linear(0, F.TakeRows(x, 0)) * uk;                                                   // [B, D]
        Tensor direction = F.MatMul(scaled, weights[2]) + F.MatMul(uv, weights[4]);                         // [B, D]
        Tensor offset = F.Linear(scaled, F.Split(weights[3], 0, 1, -1)) + shared;                           // [B, 1]
        return -F.Sigmoid(F.RowDot(x, direction, offset));
    }

    /// <summary>As <see cref="Score"/>, not recorded: agents decide by it, they are not trained here.</summary>
    internal Tensor ScoreOnly(Tensor x)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();
        return Score(x).Keep();
    }

    private Tensor Linear(int layer, Tensor x) => F.Linear(x, weights[2 * layer], weights[2 * layer + 1]);
}
