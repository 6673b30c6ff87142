using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// One row of an image's rows: attention of a learned query over them, then x + MLP(LN(x)), as SigLIP's image tower ends (arXiv
/// 2106.04560 and 2303.15343). [rows, D] -> [images, D].
/// </summary>
public sealed class VitAttentionPool : Module
{
    private readonly Tensor probe;
    private readonly Linear query, key, value, output;
    private readonly LayerNorm norm;
    private readonly VitMlp mlp;
    private readonly HeadLayout heads;
    private readonly float scale;

    public VitAttentionPool(VitConfig config, VitForm form, ref Rng rng)
    {
        int d = config.HiddenSize;
        heads = HeadLayout.Uniform(config.NumHeads, d / config.NumHeads);
        scale = 1 / MathF.Sqrt(d / config.NumHeads);
        probe = Parameter("probe", new Shape(1, 1, d));
        query = Child("query", VisionTransformer.NewLinear(d, d, ref rng));
        key = Child("key", VisionTransformer.NewLinear(d, d, ref rng));
        value = Child("value", VisionTransformer.NewLinear(d, d, ref rng));
        output = Child("out", VisionTransformer.NewLinear(d, d, ref rng));
        norm = Child("norm", new LayerNorm(d, form.Epsilon));
        mlp = Child("ffn", new VitMlp(config, form, ref rng));
        Init.Normal(probe, 0.02f, ref rng);
    }

    public Tensor Forward(Tensor x)
    {
        // The query is the same for every image; a row of zeros for each says how many there are.
        Tensor q = F.TakeRows(x, 0) * 0f + F.Flatten(probe);
        Tensor y = output.Forward(F.Attention(query.Forward(q), key.Forward(x), value.Forward(x), heads, scale));
        return mlp.Forward(norm.Forward(y)) + y;
    }
}
