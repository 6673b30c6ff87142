namespace Espalier.Models;

/// <summary>What a vision transformer makes its logits or features of.</summary>
public enum VitPool
{
    /// <summary>The class token's row.</summary>
    ClassToken,

    /// <summary>The mean of the patches' rows.</summary>
    Mean,

    /// <summary>Both, one behind the other: DINOv2's linear classifiers.</summary>
    ClassAndMean,

    /// <summary>Attention of a learned query over all rows: SigLIP's, see <see cref="VitAttentionPool"/>.</summary>
    Attention,
}

/// <summary>
/// What a vision transformer has beside, or in the place of, what the plain one of arXiv 2010.11929 has. No file of a user says it:
/// the names of a file's tensors do. Positions of tokens that have none in a file are zeros, and so are biases.
/// </summary>
public sealed record VitForm
{
    /// <summary>What layer scale begins with (DINOv2).</summary>
    internal const float FirstScale = 1e-5f;

    public bool ClassToken { get; init; } = true;

    /// <summary>Tokens behind the class token that are for the network itself (arXiv 2309.16588).</summary>
    public int Registers { get; init; }

    /// <summary>A layer norm in front of the blocks.</summary>
    public bool NormBefore { get; init; }

    /// <summary>Each branch of a block multiplied by a number a channel (arXiv 2103.17239).</summary>
    public bool LayerScale { get; init; }

    /// <summary>A layer norm of the queries and of the keys of each head (arXiv 2302.05442).</summary>
    public bool QueryKeyNorm { get; init; }

    /// <summary>SiLU(gate) times a second product in the place of GELU (arXiv 2002.05202): DINOv2's giant.</summary>
    public bool GatedMlp { get; init; }

    /// <summary>GELU with tanh in the place of the error function.</summary>
    public bool TanhGelu { get; init; }

    public VitPool Pool { get; init; }

    /// <summary>The last layer norm works on the mean, and not on rows before it.</summary>
    public bool NormAfterPool { get; init; }

    /// <summary>A linear layer and tanh in front of the head: Google's weights of ImageNet-21k.</summary>
    public bool PreLogits { get; init; }

    /// <summary>Whether there is a classifier; else the network gives features.</summary>
    public bool Head { get; init; } = true;

    /// <summary>Of all layer norms.</summary>
    public float Epsilon { get; init; } = 1e-6f;

    /// <summary>Tokens in front of the patches.</summary>
    public int Prefix(VitConfig config) => (ClassToken ? 1 : 0) + (config.Distilled ? 1 : 0) + Registers;

    /// <summary>Tokens that enter block 0.</summary>
    public int Tokens(VitConfig config) => config.Grid * config.Grid + Prefix(config);

    /// <summary>Throws where parts exclude one another.</summary>
    /// <param name="source">The file, for the message.</param>
    public VitForm Checked(string source)
    {
        if (!ClassToken && Pool is VitPool.ClassToken or VitPool.ClassAndMean)
            throw new EspalierException($"{source}: has no class token, which its head reads");
        if (NormAfterPool && Pool != VitPool.Mean)
            throw new EspalierException($"{source}: has a norm behind a mean of tokens, and no such mean");
        if (!(Epsilon is >= 0 and <= 1)) throw new EspalierException($"{source}: a layer norm's epsilon is {Epsilon}");
        return this;
    }
}
