using Espalier.Imaging;

namespace Espalier.Models;

/// <summary>The <see cref="Preprocessing"/> of a network where neither its file nor the user says one.</summary>
public static class PreprocessingDefaults
{
    /// <summary>Networks for smaller images than this have no published way.</summary>
    private const int SmallestPublished = 64;

    private const string Unsaid = "usual for checkpoints that do not say";

    /// <summary>
    /// Of weights that others published, or of a new network: torchvision's evaluation of ImageNet for its networks (those of
    /// EfficientNet are published for bicubic pictures), timm's for Xception, DeiT's for the presets of that name and for every
    /// distilled transformer, mean and deviation 0.5 for Google's transformers and for networks of small images.
    /// </summary>
    /// <returns>Null for images of other than 1 or 3 channels, which no picture file has.</returns>
    public static Preprocessing? For(ImageClassifier net) =>
        net is Cnn cnn ? For(cnn.Config) : For(((VisionTransformer)net).Config);

    /// <inheritdoc cref="For(ImageClassifier)"/>
    public static Preprocessing? For(CnnConfig config)
    {
        (int size, int channels) = (config.ImageSize, config.Channels);
        if (channels is not (1 or 3)) return null;
        Preprocessing usual = CnnPresets.Get(config.Network).ImageSize < SmallestPublished || size < SmallestPublished
            ? Preprocessing.Half(size, channels)
            : config.Network switch
            {
                "efficientnet_b0" => Preprocessing.Preset("deit", size, channels),
                "efficientnet_b1" => Resized("deit", 256),
                "efficientnet_b2" => Resized("deit", 288),
                "efficientnet_b3" => Resized("deit", 320),
                "efficientnet_b4" => Resized("deit", 384),
                "convnext_tiny" => Resized("imagenet", 236),
                "xception" => Preprocessing.Xception(size, channels),
                _ => Preprocessing.Preset("imagenet", size, channels),
            };
        return usual with { Origin = $"usual for {config.Network}" };

        // What torchvision scales the shorter side to for the size that it evaluates this network at.
        Preprocessing Resized(string preset, int resize)
        {
            Preprocessing published = Preprocessing.Preset(preset, CnnPresets.Get(config.Network).ImageSize, channels);
            return (published with { Resize = resize }).ForSize(size);
        }
    }

    /// <inheritdoc cref="For(ImageClassifier)"/>
    public static Preprocessing? For(VitConfig config) => For(config, null, new VitForm());

    /// <summary>The same of a file of such names: torchvision evaluates its transformers as it does its other networks, Meta all of
    /// its as DeiT, and SigLIP's authors squash pictures as Google's others do, by cubic convolution.</summary>
    internal static Preprocessing? For(VitConfig config, ModelTensors? file, VitForm form)
    {
        if (config.Channels is not (1 or 3)) return null;
        if (form.Pool == VitPool.Attention || file?.Layout == VitLayout.HuggingFaceSiglip)
            return Preprocessing.Half(config.ImageSize, config.Channels)
                with { Filter = Interpolation.Bicubic, Origin = "usual for SigLIP" };
        if (file?.Layout == VitLayout.Torchvision && config.ImageSize >= SmallestPublished)
            return Preprocessing.Preset("imagenet", config.ImageSize, config.Channels)
                with { Origin = "usual for torchvision's weights" };
        if (form.NormBefore && (file is null || VitTensors.IsClip(file)))
            return Preprocessing.Preset("clip", config.ImageSize, config.Channels) with { Origin = "usual for CLIP" };
        bool meta = form.LayerScale || form.Registers > 0 || form.NormAfterPool || (file is { Layout: VitLayout.Timm } && !file.Shapes.ContainsKey("head.weight"))
            || file?.Layout == VitLayout.HuggingFaceDino || file?.Shapes.Keys.Any(n => n.StartsWith("decoder", StringComparison.Ordinal)) == true;
        bool deit = config.ImageSize >= SmallestPublished
            && (config.Distilled || meta || config.Preset?.StartsWith("DeiT", StringComparison.OrdinalIgnoreCase) == true);
        return Preprocessing.Preset(deit ? "deit" : "half", config.ImageSize, config.Channels)
            with { Origin = $"usual for {config.Preset ?? (deit && meta ? "Meta's transformers" : deit ? "distilled transformers" : "vision transformers")}" };
    }

    /// <summary>What a structure block of this library says: what is in it, or the only way that there was before blocks said
    /// one.</summary>
    internal static Preprocessing? OfBlock(Preprocessing? said, int size, int channels, string source)
    {
        if (said is not null)
            return said.Checked(source).RequireFor(size, channels, source) with { Origin = "as the checkpoint says" };
        return channels is 1 or 3 ? Preprocessing.Half(size, channels) with { Origin = Unsaid } : null;
    }

    /// <summary>For the identity of a run, whose state was silent while there was only one way.</summary>
    internal static string Mark(Preprocessing? p) =>
        p is null || p == Preprocessing.Half(p.Size, p.Channels) ? "" : $", images {p.ToJson()}";
}
