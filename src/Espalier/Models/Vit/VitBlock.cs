using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>x + Attention(LN(x)), then x + MLP(LN(x)): the pre-norm encoder block, on packed rows of any lengths.</summary>
public sealed class VitBlock : Module
{
    private readonly LayerNorm attentionNorm, mlpNorm;
    private readonly VitAttention attention;
    private readonly VitMlp mlp;

    public VitBlock(VitConfig config, ref Rng rng)
    {
        attentionNorm = Child("attention_norm", new LayerNorm(config.HiddenSize, VisionTransformer.NormEpsilon));
        mlpNorm = Child("ffn_norm", new LayerNorm(config.HiddenSize, VisionTransformer.NormEpsilon));
        mlp = Child("ffn", new VitMlp(config, ref rng));
        attention = Child("attn", new VitAttention(config, ref rng));
    }

    public TokenRows Forward(TokenRows x)
    {
        Tensor rows = attention.Forward(attentionNorm.Forward(x.Rows), x.Offsets, residual: x.Rows);
        return x with { Rows = mlp.Forward(mlpNorm.Forward(rows), residual: rows) };
    }

    /// <summary>What <see cref="Forward"/> gives for the first <paramref name="prefix"/> rows of each image, and these alone.</summary>
    public TokenRows ForwardPrefix(TokenRows x, int prefix)
    {
        int[] first = x.PrefixRows(prefix);
        Tensor residual = F.GatherRows(x.Rows, first);
        Tensor rows = attention.ForwardPrefix(attentionNorm.Forward(x.Rows), x.Offsets, first, residual);
        return new TokenRows(mlp.Forward(mlpNorm.Forward(rows), residual: rows), RowSet.Uniform(x.Images, prefix));
    }
}

/// <summary>residual + Out(MultiHead(x)): softmax(q kᵀ / sqrt(d)) v in heads of d = D / heads.</summary>
public sealed class VitAttention : Module
{
    private readonly Linear query, key, value, output;
    private readonly int headWidth;
    private readonly float scale;

    public VitAttention(VitConfig config, ref Rng rng)
    {
        int d = config.HiddenSize;
        headWidth = d / config.NumHeads;
        scale = 1 / MathF.Sqrt(headWidth);
        query = Child("query", VisionTransformer.NewLinear(d, d, ref rng));
        key = Child("key", VisionTransformer.NewLinear(d, d, ref rng));
        value = Child("value", VisionTransformer.NewLinear(d, d, ref rng));
        output = Child("out", VisionTransformer.NewLinear(d, d, ref rng));
    }

    // Of the weights, which may have lost heads since.
    private int Heads => query.Weight.Shape[0] / headWidth;

    public Tensor Forward(Tensor x, RowSet offsets, Tensor residual)
    {
        Tensor mixed = F.Attention(query.Forward(x), key.Forward(x), value.Forward(x), offsets, Heads, scale);
        return output.Forward(mixed, residual);
    }

    /// <param name="queries">The rows whose result is wanted, as many of each image.</param>
    /// <param name="residual">[queries, D].</param>
    public Tensor ForwardPrefix(Tensor x, RowSet offsets, int[] queries, Tensor residual)
    {
        Tensor q = query.Forward(F.GatherRows(x, queries));
        return output.Forward(F.PrefixAttention(q, key.Forward(x), value.Forward(x), offsets, Heads, scale), residual);
    }
}

/// <summary>residual + FC2(GELU(FC1(x))), with dropout after GELU and after FC2 in training.</summary>
public sealed class VitMlp : Module
{
    private readonly Linear fc1, fc2;
    private readonly Dropout dropout1, dropout2;

    public VitMlp(VitConfig config, ref Rng rng)
    {
        fc1 = Child("fc1", VisionTransformer.NewLinear(config.HiddenSize, config.MlpDim, ref rng));
        fc2 = Child("fc2", VisionTransformer.NewLinear(config.MlpDim, config.HiddenSize, ref rng));
        Init.Normal(fc1.Bias!, 1e-6f, ref rng);
        Init.Normal(fc2.Bias!, 1e-6f, ref rng);
        dropout1 = Child("dropout1", new Dropout());
        dropout2 = Child("dropout2", new Dropout());
    }

    public Tensor Forward(Tensor x, Tensor residual)
    {
        Tensor hidden = dropout1.Forward(fc1.Forward(x, gelu: true));
        if (!dropout2.Active) return fc2.Forward(hidden, residual);
        return F.Add(dropout2.Forward(fc2.Forward(hidden)), residual);
    }
}
