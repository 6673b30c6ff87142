using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// Image to tokens: patches through one linear map (a convolution whose stride is its kernel), the class token and others in
/// front, position embeddings added. [B, C, S, S] -> token rows [B T, D].
/// </summary>
public sealed class VitEmbeddings : Module
{
    private readonly VitConfig config;
    private readonly Func<Tensor, Tensor>? stem;
    private readonly Tensor patchWeight, patchBias, positions;
    private readonly Tensor[] prefix;
    private readonly Dropout dropout;

    public VitEmbeddings(VitConfig config, VitForm form, ref Rng rng)
    {
        this.config = config;
        int d = config.HiddenSize, p = config.PatchSize;
        if (config.Stem == VitStem.Convolutions)
            stem = Child("conv_stem", new ConvolutionStem(config.Channels, d, ref rng)).Forward;
        else if (config.Stem != VitStem.Patches)
            stem = Child("hybrid_model", NewStem(config, ref rng)).Forward;
        patchWeight = Parameter("patch_embeddings.weight", new Shape(d, config.PatchChannels, p, p));
        patchBias = Parameter("patch_embeddings.bias", new Shape(d));
        positions = Parameter("position_embeddings", new Shape(1, form.Tokens(config), d));
        (string Name, int Count)[] front =
            [("cls_token", form.ClassToken ? 1 : 0), ("dist_token", config.Distilled ? 1 : 0), ("reg_token", form.Registers)];
        prefix = [.. front.Where(t => t.Count > 0).Select(t => Parameter(t.Name, new Shape(1, t.Count, d)))];
        dropout = Child("dropout", new Dropout());
        Init.XavierUniform(patchWeight, ref rng);
        Init.Normal(positions, 0.02f, ref rng);
    }

    /// <summary>The ResNet that the configuration names.</summary>
    private static HybridStem NewStem(VitConfig config, ref Rng rng)
    {
        var variant = config.Stem == VitStem.ResNet50 ? HybridStemVariant.Google : HybridStemVariant.Torch;
        return new HybridStem(variant, config.Channels, ref rng);
    }

    public Tensor Forward(Tensor images)
    {
        if (images.Rank != 4 || images.Shape[1] != config.Channels || images.Shape[2] != config.ImageSize
            || images.Shape[3] != config.ImageSize)
        {
            throw new ArgumentException(
                $"images {images.Shape} for a model of [batch,{config.Channels},{config.ImageSize},{config.ImageSize}]");
        }
        Tensor map = stem?.Invoke(images) ?? images;
        Tensor patches = F.PatchesToRows(map, config.PatchSize);                         // [B N, C p p]
        Tensor weight = F.Flatten(patchWeight);                                          // [D, C p p]
        Tensor projected = F.Linear(patches, weight, patchBias);                         // [B N, D]
        return dropout.Forward(F.AssembleTokens(projected, positions, prefix));
    }
}
