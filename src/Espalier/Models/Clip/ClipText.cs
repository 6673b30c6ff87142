using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// CLIP's text tower: a transformer whose tokens see none behind them; the row of a text's end through a norm and a projection.
/// ids [B, T] -> features [B, embedding], not normalised. What is behind the end is not computed: see <see
/// cref="EmbedTokensOp"/>.
/// </summary>
public sealed class ClipText : Module
{
    private readonly ClipConfig config;
    private readonly Tensor table, positions, projection;
    private readonly ClipTransformer transformer;
    private readonly LayerNorm norm;

    public ClipText(ClipConfig config, ulong seed = 42)
    {
        this.config = config.Checked("CLIP");
        var rng = new Rng(seed, key0: 6);
        positions = Parameter("positional_embedding", new Shape(config.Context, config.TextWidth));
        projection = Parameter("text_projection", new Shape(config.TextWidth, config.Embedding));
        table = Parameter("token_embedding.weight", new Shape(config.Vocabulary, config.TextWidth));
        transformer = Child("transformer", new ClipTransformer("transformer", config.TextWidth, config.TextLayers,
            config.TextHeads,
            AttentionMask.Causal, config.Activation, ref rng));
        norm = Child("ln_final", new LayerNorm(config.TextWidth));
        Init.Normal(table, 0.02f, ref rng);
        Init.Normal(positions, 0.01f, ref rng);
        Init.Normal(projection, MathF.Pow(config.TextWidth, -0.5f), ref rng);
    }

    /// <inheritdoc cref="ClipText"/>
    public Tensor Forward(Tensor ids) =>
        F.MatMul(norm.Forward(F.TakeRows(transformer.Forward(F.EmbedTokens(ids, table, positions)), -1)), projection);

    /// <summary>The tower as a graph of one input, <c>ids</c> [B, T].</summary>
    public Graph Trace() => Graph.Trace(x => [Forward(x[0])], [("ids", Tensor.Meta(new Shape(2, config.Context)))], StateDict());
}
