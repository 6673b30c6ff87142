using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// CLIP's image tower as a vision transformer: patches without bias, class token and positions, a norm in front of the blocks,
/// and the class token's row through a norm and a projection. [B, 3, S, S] -> features [B, embedding], not normalised.
/// </summary>
public sealed class ClipVision : ImageClassifier
{
    private readonly ClipConfig config;
    private readonly Tensor patches, classToken, positions, projection;
    private readonly LayerNorm before, after;
    private readonly ClipTransformer transformer;

    public ClipVision(ClipConfig config, ulong seed = 42)
    {
        this.config = config.Checked("CLIP");
        var rng = new Rng(seed, key0: 5);
        int width = config.ImageWidth, patch = config.PatchSize!.Value;
        float scale = MathF.Pow(width, -0.5f);
        classToken = Parameter("visual.class_embedding", new Shape(1, 1, width));
        positions = Parameter("visual.positional_embedding", new Shape(1, config.Grid * config.Grid + 1, width));
        projection = Parameter("visual.proj", new Shape(width, config.Embedding));
        patches = Parameter("visual.conv1.weight", new Shape(width, 3, patch, patch));
        before = Child("visual.ln_pre", new LayerNorm(width));
        transformer = Child("visual.transformer", new ClipTransformer("visual.transformer", width, config.ImageLayers[0],
            config.ImageHeads, AttentionMask.None, config.Activation, ref rng));
        after = Child("visual.ln_post", new LayerNorm(width));
        foreach (Tensor t in new[] { classToken, positions, projection }) Init.Normal(t, scale, ref rng);
        Init.XavierUniform(patches, ref rng);
    }

    /// <inheritdoc/>
    public override string Description => config.Description;

    /// <inheritdoc/>
    public override int Channels => 3;

    /// <inheritdoc/>
    public override int ImageSize => config.ImageSize;

    /// <summary>Width of the features.</summary>
    public override int NumClasses => config.Embedding;

    /// <inheritdoc cref="ClipVision"/>
    public override Tensor Forward(Tensor images)
    {
        Tensor rows = F.Linear(F.PatchesToRows(images, config.PatchSize!.Value), F.Flatten(patches));
        Tensor x = transformer.Forward(before.Forward(F.AssembleTokens(rows, positions, classToken)));
        return F.MatMul(after.Forward(F.TakeRows(x, 0)), projection);
    }
}
