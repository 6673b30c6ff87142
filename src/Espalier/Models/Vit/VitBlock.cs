using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>x + Attention(LN(x)), then x + MLP(LN(x)): the pre-norm encoder block, on token rows [rows, D] of any images.</summary>
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

    public Tensor Forward(Tensor x)
    {
        x = attention.Forward(attentionNorm.Forward(x)) + x;
        return mlp.Forward(mlpNorm.Forward(x)) + x;
    }
}

/// <summary>Out(MultiHead(x)): softmax(q kᵀ / sqrt(d)) v in heads of d = D / heads.</summary>
public sealed class VitAttention : Module
{
    private readonly Linear query, key, value, output;
    private readonly int headWidth;
    private readonly float scale;
    private HeadLayout? heads;

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
    private HeadLayout Heads => heads is { } known && known.QueryWidth == query.Weight.Shape[0]
        ? known : heads = HeadLayout.Uniform(query.Weight.Shape[0] / headWidth, headWidth);

    public Tensor Forward(Tensor x) =>
        output.Forward(F.Attention(query.Forward(x), key.Forward(x), value.Forward(x), Heads, scale));
}

/// <summary>FC2(GELU(FC1(x))), with dropout after GELU and after FC2 in training.</summary>
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

    public Tensor Forward(Tensor x) => dropout2.Forward(fc2.Forward(dropout1.Forward(F.Gelu(fc1.Forward(x)))));
}
