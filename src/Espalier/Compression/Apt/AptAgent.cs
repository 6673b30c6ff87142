using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tensors.Threading;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Apt;

/// <summary>
/// A pruning agent: from the class token and one other token it says how probable it is that the token is worthless.
/// q = Wq·class + bq, k = Wk·token + bk, v = Wv·token + bv, logits = Wo·[v, q∘k] + bo; class 0 keeps, class 1 prunes.
/// </summary>
public sealed unsafe class AptAgent : Module
{
    /// <summary>Multiply-adds of scores that make up for waking a thread.</summary>
    private const int ScoresWorthAThread = 1 << 16;

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
        output.Bias!.Span[0] += keepBias;
    }

    /// <summary>Multiply-adds for an image with <paramref name="tokens"/> tokens, as <see cref="PruneProbabilities"/> computes.</summary>
    public static long MultiplyAdds(int width, int tokens) => 2L * width * width + (long)tokens * width;

    /// <summary>The logits [n, 2] of n tokens, each with the class token of its image: [n, D] both.</summary>
    public Tensor Logits(Tensor classTokens, Tensor tokens)
    {
        Tensor match = F.Mul(query.Forward(classTokens), key.Forward(tokens));
        return output.Forward(F.Concat(1, value.Forward(tokens), match));
    }

    /// <summary>
    /// p(prune) of every row of a packed batch. Only the difference of the two logits matters, and it is linear in the token:
    /// with u = Wo[1] - Wo[0] = [uv, uk] it is (Wvᵀuv + Wkᵀ(uk∘q))·token + const, so that a token costs D multiply-adds and an
    /// image 2 D² for its q and Wkᵀ(uk∘q), instead of the 2 D² a token of the plain form.
    /// </summary>
    public float[] PruneProbabilities(TokenRows x)
    {
        using PauseScope _ = new();
        ReadOnlySpan<float> keep = output.Weight.Span[..(2 * width)], prune = output.Weight.Span[(2 * width)..];
        var u = new float[2 * width];
        TensorPrimitives.Subtract(prune, keep, u);
        ReadOnlySpan<float> uv = u.AsSpan(0, width), uk = u.AsSpan(width);
        Tensor uValue = Tensor.From(new Shape(1, width), uv), uKey = Tensor.From(new Shape(1, width), uk);

        Tensor q = query.Forward(F.GatherRows(x.Rows, x.ClassRows()));                   // [B, D]
        Tensor scaled = F.Mul(q, uKey);                                                  // [B, D]
        Tensor direction = F.Add(F.MatMul(scaled, key.Weight), F.MatMul(uValue, value.Weight));   // [B, D]
        float shared = TensorPrimitives.Dot(uv, value.Bias!.Span) + output.Bias!.Span[1] - output.Bias.Span[0];

        var p = new float[x.Offsets.Rows];
        fixed (float* result = p)
        fixed (int* starts = x.Offsets.Starts)
        {
            var job = new ScoreJob(x.Rows.Data, starts, direction.Data, scaled.Data, key.Bias!.Data, shared, width, result);
            Workers.For(x.Images, Math.Max(1, ScoresWorthAThread / Math.Max(1, x.Offsets.MaxLength * width)), job);
        }
        return p;
    }

    /// <summary>
    /// The agent in its folded form: the logit of p(prune) is (classToken·Direction + DirectionBias)·token +
    /// classToken·Offset + OffsetBias.
    /// </summary>
    /// <param name="Direction">[D, D].</param>
    /// <param name="DirectionBias">[1, D].</param>
    /// <param name="Offset">[D, 1].</param>
    internal sealed record Folded(Tensor Direction, Tensor DirectionBias, Tensor Offset, float OffsetBias);

    /// <summary>Multiplies the weights out, for programs that only run the agent; see <see cref="PruneProbabilities"/>.</summary>
    internal Folded Fold()
    {
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();
        Tensor u = Tensor.From(new Shape(1, 2 * width), output.Weight.Span[(2 * width)..]);
        TensorPrimitives.Subtract(u.Span, output.Weight.Span[..(2 * width)], u.Span);
        Tensor uValue = Tensor.From(new Shape(1, width), u.Span[..width]), uKey = Tensor.From(new Shape(1, width), u.Span[width..]);
        Tensor weight = F.Mul(F.Transpose(query.Weight), uKey);                          // q∘uk = class·weight + bias
        Tensor bias = F.Mul(F.Reshape(query.Bias!, new Shape(1, width)), uKey);
        Tensor direction = F.MatMul(weight, key.Weight);
        Tensor directionBias = F.Add(F.MatMul(bias, key.Weight), F.MatMul(uValue, value.Weight));
        Tensor offset = F.MatMul(weight, F.Reshape(key.Bias!, new Shape(width, 1)));
        float offsetBias = TensorPrimitives.Dot(bias.Span, key.Bias!.Span) + TensorPrimitives.Dot(uValue.Span, value.Bias!.Span)
            + output.Bias!.Span[1] - output.Bias.Span[0];
        return new Folded(direction.Keep(), directionBias.Keep(), offset.Keep(), offsetBias);
    }

    /// <summary>p(prune) of the rows of some images: logistic(direction·row + scaled·key bias + shared).</summary>
    private readonly struct ScoreJob(
        float* rows, int* starts, float* direction, float* scaled, float* keyBias, float shared, int width, float* result)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            var bias = new ReadOnlySpan<float>(keyBias, width);
            for (int b = start; b < end; b++)
            {
                var weights = new ReadOnlySpan<float>(direction + (nint)b * width, width);
                float constant = shared + TensorPrimitives.Dot(new ReadOnlySpan<float>(scaled + (nint)b * width, width), bias);
                for (int row = starts[b]; row < starts[b + 1]; row++)
                {
                    var token = new ReadOnlySpan<float>(rows + (nint)row * width, width);
                    result[row] = 1 / (1 + MathF.Exp(-constant - TensorPrimitives.Dot(weights, token)));
                }
            }
        }
    }

    /// <summary>A scope in which nothing is recorded: agents decide, they are not trained here.</summary>
    private sealed class PauseScope : IDisposable
    {
        private readonly Recording.PauseBlock pause = Recording.Pause();
        private readonly Scope scope = new();

        public void Dispose()
        {
            scope.Dispose();
            pause.Dispose();
        }
    }
}
