using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// The transformer of both towers: x + Attention(LN(x)), then x + MLP(LN(x)), on token rows; a text's tokens see none behind
/// them. Names are OpenAI's, but the stacked matrix of queries, keys and values is three.
/// </summary>
public sealed class ClipTransformer : Module
{
    private readonly ClipBlock[] blocks;
    private readonly string name;

    /// <param name="name">What the graph calls it.</param>
    public ClipTransformer(string name, int width, int layers, int heads, AttentionMask mask, ClipActivation activation,
        ref Rng rng)
    {
        this.name = name;
        blocks = new ClipBlock[layers];
        for (int i = 0; i < layers; i++)
            blocks[i] = Child($"resblocks.{i}", new ClipBlock(width, heads, mask, activation, layers, ref rng));
    }

    /// <summary>[rows, width] -> the same rows.</summary>
    public Tensor Forward(Tensor x)
    {
        for (int i = 0; i < blocks.Length; i++)
        {
            x = blocks[i].Forward(x);
            x.Name = $"{name}.resblocks.{i}";
        }
        return x;
    }
}

/// <summary>One block of <see cref="ClipTransformer"/>.</summary>
public sealed class ClipBlock : Module
{
    /// <summary>QuickGELU's factor.</summary>
    public const float Quick = 1.702f;

    private readonly LayerNorm norm1, norm2;
    private readonly Linear query, key, value, output, fc, proj;
    private readonly HeadLayout heads;
    private readonly float scale;
    private readonly AttentionMask mask;
    private readonly ClipActivation activation;

    public ClipBlock(int width, int count, AttentionMask mask, ClipActivation activation, int layers, ref Rng rng)
    {
        (this.mask, this.activation, heads) = (mask, activation, HeadLayout.Uniform(count, width / count));
        scale = 1 / MathF.Sqrt(width / count);
        norm1 = Child("ln_1", new LayerNorm(width));
        query = Child("attn.q_proj", new Linear(width, width, ref rng));
        key = Child("attn.k_proj", new Linear(width, width, ref rng));
        value = Child("attn.v_proj", new Linear(width, width, ref rng));
        output = Child("attn.out_proj", new Linear(width, width, ref rng));
        norm2 = Child("ln_2", new LayerNorm(width));
        fc = Child("mlp.c_fc", new Linear(width, 4 * width, ref rng));
        proj = Child("mlp.c_proj", new Linear(4 * width, width, ref rng));
        // As the authors begin, so that the sum over all blocks keeps its size.
        float inner = MathF.Pow(width, -0.5f), last = inner * MathF.Pow(2 * layers, -0.5f);
        foreach (Linear layer in new[] { query, key, value }) Init.Normal(layer.Weight, inner, ref rng);
        Init.Normal(output.Weight, last, ref rng);
        Init.Normal(fc.Weight, MathF.Pow(2 * width, -0.5f), ref rng);
        Init.Normal(proj.Weight, last, ref rng);
        foreach (Linear layer in new[] { query, key, value, output, fc, proj }) layer.Bias!.Fill(0);
    }

    /// <summary>[rows, width] -> the same rows.</summary>
    public Tensor Forward(Tensor x)
    {
        Tensor y = norm1.Forward(x);
        y = F.Attention(query.Forward(y), key.Forward(y), value.Forward(y), heads, scale, mask: mask);
        x = output.Forward(y) + x;
        y = fc.Forward(norm2.Forward(x));
        y = activation == ClipActivation.Gelu ? F.Gelu(y) : F.Element(y, ElementFunction.Swish, Quick);
        return proj.Forward(y) + x;
    }
}
