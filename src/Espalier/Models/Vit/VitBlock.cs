using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>x + Attention(LN(x)), then x + MLP(LN(x)): the pre-norm encoder block, on token rows [rows, D] of any images. With layer
/// scale (arXiv 2103.17239) each branch is multiplied by a number a channel.</summary>
public sealed class VitBlock : Module
{
    private readonly LayerNorm attentionNorm, mlpNorm;
    private readonly VitAttention attention;
    private readonly VitMlp mlp;
    private readonly Tensor? attentionScale, mlpScale;

    public VitBlock(VitConfig config, VitForm form, ref Rng rng)
    {
        attentionNorm = Child("attention_norm", new LayerNorm(config.HiddenSize, form.Epsilon));
        mlpNorm = Child("ffn_norm", new LayerNorm(config.HiddenSize, form.Epsilon));
        mlp = Child("ffn", new VitMlp(config, form, ref rng));
        attention = Child("attn", new VitAttention(config, form, ref rng));
        if (!form.LayerScale) return;
        attentionScale = Parameter("attn_scale", new Shape(config.HiddenSize));
        mlpScale = Parameter("ffn_scale", new Shape(config.HiddenSize));
        attentionScale.Fill(VitForm.FirstScale);
        mlpScale.Fill(VitForm.FirstScale);
    }

    public Tensor Forward(Tensor x)
    {
        x = Scaled(attention.Forward(attentionNorm.Forward(x)), attentionScale) + x;
        return Scaled(mlp.Forward(mlpNorm.Forward(x)), mlpScale) + x;
    }

    private static Tensor Scaled(Tensor branch, Tensor? scale) => scale is null ? branch : branch * scale;
}

/// <summary>Out(MultiHead(x)): softmax(q kᵀ / sqrt(d)) v in heads of d = D / heads; the q and k of each head through a layer norm
/// where the form says so.</summary>
public sealed class VitAttention : Module
{
    private readonly Linear query, key, value, output;
    private readonly int headWidth;
    private readonly LayerNorm? queryNorm, keyNorm;
    private readonly float scale;
    private HeadLayout? heads;

    public VitAttention(VitConfig config, VitForm form, ref Rng rng)
    {
        int d = config.HiddenSize;
        headWidth = d / config.NumHeads;
        scale = 1 / MathF.Sqrt(headWidth);
        query = Child("query", VisionTransformer.NewLinear(d, d, ref rng));
        key = Child("key", VisionTransformer.NewLinear(d, d, ref rng));
        value = Child("value", VisionTransformer.NewLinear(d, d, ref rng));
        output = Child("out", VisionTransformer.NewLinear(d, d, ref rng));
        if (!form.QueryKeyNorm) return;
        queryNorm = Child("q_norm", new LayerNorm(headWidth, form.Epsilon));
        keyNorm = Child("k_norm", new LayerNorm(headWidth, form.Epsilon));
    }

    // Of the weights, which may have lost heads since.
    private HeadLayout Heads => heads is { } known && known.QueryWidth == query.Weight.Shape[0]
        ? known : heads = HeadLayout.Uniform(query.Weight.Shape[0] / headWidth, headWidth);

    public Tensor Forward(Tensor x) => output.Forward(F.Attention(
        Normed(query.Forward(x), queryNorm), Normed(key.Forward(x), keyNorm), value.Forward(x), Heads, scale));

    private Tensor Normed(Tensor x, LayerNorm? norm) =>
        norm is null ? x : F.Flatten(norm.Forward(F.Split(x, 1, -1, headWidth)));          // of [rows, heads, d]
}

/// <summary>FC2(GELU(FC1(x))), or FC2(SiLU(Gate(x)) FC1(x)), with dropout after the activation and after FC2 in training.</summary>
public sealed class VitMlp : Module
{
    private readonly Linear fc1, fc2;
    private readonly Linear? gate;
    private readonly Dropout dropout1, dropout2;
    private readonly bool tanh;

    public VitMlp(VitConfig config, VitForm form, ref Rng rng)
    {
        tanh = form.TanhGelu;
        gate = form.GatedMlp ? Child("gate", VisionTransformer.NewLinear(config.HiddenSize, config.MlpDim, ref rng)) : null;
        fc1 = Child("fc1", VisionTransformer.NewLinear(config.HiddenSize, config.MlpDim, ref rng));
        fc2 = Child("fc2", VisionTransformer.NewLinear(config.MlpDim, config.HiddenSize, ref rng));
        Init.Normal(fc1.Bias!, 1e-6f, ref rng);
        Init.Normal(fc2.Bias!, 1e-6f, ref rng);
        dropout1 = Child("dropout1", new Dropout());
        dropout2 = Child("dropout2", new Dropout());
    }

    public Tensor Forward(Tensor x) => dropout2.Forward(fc2.Forward(dropout1.Forward(
        gate is null ? Gelu(fc1.Forward(x), tanh) : F.Silu(gate.Forward(x)) * fc1.Forward(x))));

    internal static Tensor Gelu(Tensor x, bool tanh) => tanh ? F.Element(x, ElementFunction.GeluTanh) : F.Gelu(x);
}
