using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Compression.Apt;

/// <summary>
/// A pruning agent: from the class token and one other token it says how probable it is that the token is worthless.
/// q = Wq·class + bq, k = Wk·token + bk, v = Wv·token + bv, logits = Wo·[v, q∘k] + bo; class 0 keeps, class 1 prunes.
/// </summary>
public sealed class AptAgent : Module
{
    private readonly Linear query, key, value, output;
    private readonly int width;

    /// <param name="keepBias">Added to the initial "keep" logit, so that an untrained agent drops nothing.</param>
    public AptAgent(int width, ref Rng rng, float keepBias = 0)
    {
        this.width = width;
        query = Child("query", new Linear(width, width, ref rng));
        key = Child("key", new Linear(width, width, ref rng));
        value = Child("value", new Linear(width, width, ref rng));
        output = Child("fc", new Linear(2 * width, 2, ref rng));
        if (keepBias != 0) output.Bias!.Span[0] += keepBias;
    }

    /// <summary>Multiply-adds for an image with <paramref name="tokens"/> tokens, as <see cref="Score"/> computes.</summary>
    public static long MultiplyAdds(int width, int tokens) => 2L * width * width + (long)tokens * width;

    /// <summary>The logits [n, 2] of n tokens, each with the class token of its image: [n, D] both.</summary>
    public Tensor Logits(Tensor classTokens, Tensor tokens)
    {
        Tensor match = F.Mul(query.Forward(classTokens), key.Forward(tokens));
        return output.Forward(F.Concat(1, value.Forward(tokens), match));
    }

    /// <summary>
    /// -p(prune) of every token row: x [rows, D] -> [rows]. Only the difference of the two logits matters, and it is linear in the
    /// token: with u = Wo[1] - Wo[0] = [uv, uk] it is (Wvᵀuv + Wkᵀ(uk∘q))·token + const, so that a token costs D multiply-adds and
    /// an image 2 D² for its q and Wkᵀ(uk∘q), instead of the 2 D² a token of the plain form.
    /// </summary>
    public Tensor Score(Tensor x)
    {
        Tensor u = F.Sub(F.Slice(output.Weight, 0, 1, 1), F.Slice(output.Weight, 0, 0, 1));                // [1, 2D]
        Tensor uv = F.Slice(u, 1, 0, width), uk = F.Slice(u, 1, width, width);                             // [1, D]
        Tensor bias = F.Sub(F.Slice(output.Bias!, 0, 1, 1), F.Slice(output.Bias!, 0, 0, 1));               // [1]
        Tensor shared = F.Linear(uv, F.Split(value.Bias!, 0, 1, -1), bias);                                // [1, 1]
        Tensor scaled = F.Mul(query.Forward(F.TakeRows(x, 0)), uk);                                        // [B, D]
        Tensor direction = F.Add(F.MatMul(scaled, key.Weight), F.MatMul(uv, value.Weight));                // [B, D]
        Tensor offset = F.Add(F.Linear(scaled, F.Split(key.Bias!, 0, 1, -1)), shared);                     // [B, 1]
        return F.Neg(F.Sigmoid(F.RowDot(x, direction, offset)));
    }

    /// <summary>As <see cref="Score"/>, not recorded: agents decide by it, they are not trained here.</summary>
    internal Tensor ScoreOnly(Tensor x)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();
        return Score(x).Keep();
    }
}
