using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// The vision transformer (Dosovitskiy et al., arXiv 2010.11929) on token rows, so that images of one batch may have
/// different numbers of them; with what later ones have beside it, see <see cref="VitForm"/>. Parameter names are those of the
/// PyTorch port that APT was built on.
/// </summary>
public sealed class VisionTransformer : ImageClassifier
{
    private const string BlockPrefix = "transformer.encoder.layer.";

    private readonly VitEmbeddings embeddings;
    private readonly VitBlock[] blocks;
    private readonly LayerNorm? normBefore, norm, poolNorm;
    private readonly VitAttentionPool? pool;
    private readonly Linear? preLogits, head, distillationHead;

    /// <summary>A model with a zero classifier, by default with Google's initialisation (arXiv 2010.11929).</summary>
    /// <param name="form">Null for the plain one.</param>
    public VisionTransformer(VitConfig config, ulong seed = 42, VitForm? form = null, VitStart start = VitStart.Published)
    {
        Config = config.Checked("model");
        Form = (form ?? new VitForm()).Checked("model");
        if (config.Distilled && !(Form is { Head: true, Pool: VitPool.ClassToken }))
            throw new EspalierException("model: a distillation token is for a head that reads the class token");
        var rng = new Rng(seed, key0: 1);
        int d = config.HiddenSize;
        embeddings = Child("transformer.embeddings", new VitEmbeddings(config, Form, ref rng));
        if (Form.NormBefore) normBefore = Child("transformer.norm_pre", new LayerNorm(d, Form.Epsilon));
        blocks = new VitBlock[config.NumLayers];
        for (int i = 0; i < blocks.Length; i++) blocks[i] = Child($"{BlockPrefix}{i}", new VitBlock(config, Form, ref rng));
        if (!Form.NormAfterPool) norm = Child("transformer.encoder.encoder_norm", new LayerNorm(d, Form.Epsilon));
        if (Form.NormAfterPool) poolNorm = Child("fc_norm", new LayerNorm(d, Form.Epsilon));
        if (Form.Pool == VitPool.Attention) pool = Child("pool", new VitAttentionPool(config, Form, ref rng));
        if (Form.PreLogits) preLogits = Child("pre_logits.fc", NewLinear(d, d, ref rng));
        if (Form.Head)
            head = Child("head", NewLinear(Form.Pool == VitPool.ClassAndMean ? 2 * d : d, config.NumClasses, ref rng));
        distillationHead = config.Distilled ? Child("head_dist", NewLinear(config.HiddenSize, config.NumClasses, ref rng)) : null;
        ClearHead();
        if (start == VitStart.Mimetic) MimeticStart.Apply(this, config, seed);
    }

    public VitConfig Config { get; }

    public VitForm Form { get; }

    /// <inheritdoc/>
    public override string Description => Config.Describe(Form.Tokens(Config)) + (Form.Head ? "" : ", features");

    /// <inheritdoc/>
    public override int Channels => Config.Channels;

    /// <inheritdoc/>
    public override int ImageSize => Config.ImageSize;

    /// <inheritdoc/>
    public override int NumClasses => Form.Head ? Config.NumClasses : Config.HiddenSize;

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

    /// <summary>[B, C, S, S] -> logits [B, classes], or features [B, D] where there is no head; every token kept.</summary>
    public override Tensor Forward(Tensor images) => Classify(Features(images));

    /// <summary>[B, C, S, S] -> the token rows [B T, D] that enter block 0.</summary>
    public Tensor Embed(Tensor images)
    {
        Tensor x = embeddings.Forward(images);
        return normBefore is null ? x : normBefore.Forward(x);
    }

    /// <summary>Block <paramref name="index"/> (0-based): token rows [rows, D] -> the same rows.</summary>
    public Tensor Block(int index, Tensor x)
    {
        Tensor y = blocks[index].Forward(x);
        y.Name = BlockName(index);
        return y;
    }

    /// <summary>What the graph calls the rows that leave a block.</summary>
    internal static string BlockName(int index) => $"{BlockPrefix}{index}";

    /// <summary>Output of the last block -> logits [images, classes], from the class token (and DeiT's distillation token, arXiv
    /// 2012.12877, section 4), or from what the form's pool makes of all tokens.</summary>
    public Tensor Classify(Tensor x)
    {
        Tensor y = Pooled(x);
        if (preLogits is not null) y = F.Tanh(preLogits.Forward(y));
        if (head is not null) y = head.Forward(y);
        return distillationHead is null ? y : (y + distillationHead.Forward(norm!.Forward(F.TakeRows(x, 1)))) * 0.5f;
    }

    /// <summary>Rows [rows, D] -> one of each image [images, D], or 2 D wide.</summary>
    private Tensor Pooled(Tensor x)
    {
        if (Form.Pool == VitPool.ClassToken) return norm!.Forward(F.TakeRows(x, 0));
        if (poolNorm is not null) return poolNorm.Forward(Mean(x));
        x = norm!.Forward(x);
        if (pool is not null) return pool.Forward(x);
        return Form.Pool == VitPool.Mean ? Mean(x) : F.Concat(1, F.TakeRows(x, 0), Mean(x));

        Tensor Mean(Tensor rows) => F.TakeRows(F.RowMean(rows, Form.Prefix(Config)), 0);
    }

    /// <summary>Every token kept -> output of the last block.</summary>
    private Tensor Features(Tensor images)
    {
        Tensor x = Embed(images);
        for (int i = 0; i < blocks.Length; i++) x = Block(i, x);
        return x;
    }

    internal static Linear NewLinear(int inputs, int outputs, ref Rng rng)
    {
        var linear = new Linear(inputs, outputs, ref rng);
        Init.XavierUniform(linear.Weight, ref rng);
        linear.Bias!.Fill(0);
        return linear;
    }
}
