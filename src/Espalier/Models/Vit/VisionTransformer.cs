using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// The vision transformer (Dosovitskiy et al., arXiv 2010.11929) on token rows, so that images of one batch may have
/// different numbers of them. Parameter names are those of the PyTorch port that APT was built on.
/// </summary>
public sealed class VisionTransformer : ImageClassifier
{
    internal const float NormEpsilon = 1e-6f;
    private const string BlockPrefix = "transformer.encoder.layer.";

    private readonly VitEmbeddings embeddings;
    private readonly VitBlock[] blocks;
    private readonly LayerNorm norm;
    private readonly Linear head;
    private readonly Linear? distillationHead;

    /// <summary>A model with Google's initialisation (arXiv 2010.11929): Xavier weights, zero classifier.</summary>
    public VisionTransformer(VitConfig config, ulong seed = 42)
    {
        Config = config.Checked("model");
        var rng = new Rng(seed, key0: 1);
        embeddings = Child("transformer.embeddings", new VitEmbeddings(config, ref rng));
        blocks = new VitBlock[config.NumLayers];
        for (int i = 0; i < blocks.Length; i++) blocks[i] = Child($"{BlockPrefix}{i}", new VitBlock(config, ref rng));
        norm = Child("transformer.encoder.encoder_norm", new LayerNorm(config.HiddenSize, NormEpsilon));
        head = Child("head", NewLinear(config.HiddenSize, config.NumClasses, ref rng));
        distillationHead = config.Distilled ? Child("head_dist", NewLinear(config.HiddenSize, config.NumClasses, ref rng)) : null;
        ClearHead();
    }

    public VitConfig Config { get; }

    /// <inheritdoc/>
    public override string Description => Config.Description;

    /// <inheritdoc/>
    public override int Channels => Config.Channels;

    /// <inheritdoc/>
    public override int ImageSize => Config.ImageSize;

    /// <inheritdoc/>
    public override int NumClasses => Config.NumClasses;

    /// <summary>Dropout rate after the position embeddings and in the MLPs while training.</summary>
    public float DropoutRate
    {
        set => Dropout.SetRate(this, value);
    }

    /// <summary>Zero classifier weights: every class equally likely, as fine-tuning starts.</summary>
    private void ClearHead()
    {
        foreach (Linear layer in new[] { head, distillationHead }.OfType<Linear>())
        {
            layer.Weight.Fill(0);
            layer.Bias!.Fill(0);
        }
    }

    /// <summary>[B, C, S, S] -> logits [B, classes], every token kept.</summary>
    public override Tensor Forward(Tensor images) => Classify(Features(images));

    /// <summary>[B, C, S, S] -> the token rows [B T, D] that enter block 0.</summary>
    public Tensor Embed(Tensor images) => embeddings.Forward(images);

    /// <summary>Block <paramref name="index"/> (0-based): token rows [rows, D] -> the same rows.</summary>
    public Tensor Block(int index, Tensor x)
    {
        Tensor y = blocks[index].Forward(x);
        y.Name = BlockName(index);
        return y;
    }

    /// <summary>What the graph calls the rows that leave a block.</summary>
    internal static string BlockName(int index) => $"{BlockPrefix}{index}";

    /// <summary>Output of the last block -> logits [images, classes], from the class token (and DeiT's distillation token).</summary>
    public Tensor Classify(Tensor x)
    {
        var (logits, other) = Heads(x);
        return other is null ? logits : (logits + other) * 0.5f;
    }

    /// <summary>Every token kept -> output of the last block.</summary>
    private Tensor Features(Tensor images)
    {
        Tensor x = Embed(images);
        for (int i = 0; i < blocks.Length; i++) x = Block(i, x);
        return x;
    }

    /// <summary>The class token's logits, and those of DeiT's distillation token (arXiv 2012.12877, section 4) where there is
    /// one.</summary>
    private (Tensor Logits, Tensor? Distillation) Heads(Tensor x)
    {
        Tensor logits = head.Forward(norm.Forward(F.TakeRows(x, 0)));
        return (logits, distillationHead?.Forward(norm.Forward(F.TakeRows(x, 1))));
    }

    internal static Linear NewLinear(int inputs, int outputs, ref Rng rng)
    {
        var linear = new Linear(inputs, outputs, ref rng);
        Init.XavierUniform(linear.Weight, ref rng);
        linear.Bias!.Fill(0);
        return linear;
    }
}
