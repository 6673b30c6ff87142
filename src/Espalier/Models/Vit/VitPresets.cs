namespace Espalier.Models;

/// <summary>The named shapes: ViT (arXiv 2010.11929, 2106.10270), DeiT (arXiv 2012.12877), and small ones for 28-pixel images, of which one begins with convolutions.</summary>
public static class VitPresets
{
    private static readonly Dictionary<string, VitConfig> Table = new(StringComparer.OrdinalIgnoreCase)
    {
        ["ViT-Ti_16"] = Shape(16, 192, 12, 3),
        ["ViT-S_16"] = Shape(16, 384, 12, 6),
        ["ViT-B_16"] = Shape(16, 768, 12, 12),
        ["ViT-B_32"] = Shape(32, 768, 12, 12),
        ["ViT-L_16"] = Shape(16, 1024, 24, 16),
        ["ViT-L_32"] = Shape(32, 1024, 24, 16),
        ["ViT-H_14"] = Shape(14, 1280, 32, 16),
        ["R50-ViT-B_16"] = Shape(1, 768, 12, 12) with { Stem = VitStem.ResNet50 },
        ["DeiT-Ti_16"] = Shape(16, 192, 12, 3),
        ["DeiT-S_16"] = Shape(16, 384, 12, 6),
        ["DeiT-B_16"] = Shape(16, 768, 12, 12),
        ["DeiT-Ti_16-distilled"] = Shape(16, 192, 12, 3) with { Distilled = true },
        ["DeiT-S_16-distilled"] = Shape(16, 384, 12, 6) with { Distilled = true },
        ["DeiT-B_16-distilled"] = Shape(16, 768, 12, 12) with { Distilled = true },
        ["vit-small-28"] = Small(width: 64, layers: 9),
        ["vit-tiny-28"] = Small(width: 48, layers: 6),
        ["vit-conv-28"] = Small(width: 64, layers: 9) with { Stem = VitStem.Convolutions, PatchSize = 1 },
    };

    public static IReadOnlyCollection<string> Names => Table.Keys;

    /// <summary>The shape of that name, or of timm's or torchvision's name for it; case does not matter.</summary>
    public static VitConfig Get(string name) => Table.TryGetValue(PresetNames.Canonical(name), out VitConfig? config)
        ? config with { Preset = PresetNames.Canonical(name) }
        : throw new EspalierException($"unknown model '{name}'{Near.Hint(name, PresetNames.All)}; known are "
            + $"{string.Join(", ", Names.Concat(CnnPresets.Names))}; or give a shape with --config");

    private static VitConfig Shape(int patch, int width, int layers, int heads) =>
        new() { PatchSize = patch, HiddenSize = width, MlpDim = 4 * width, NumHeads = heads, NumLayers = layers };

    private static VitConfig Small(int width, int layers) => new()
    {
        ImageSize = 28, PatchSize = 4, Channels = 1, HiddenSize = width, MlpDim = 2 * width, NumHeads = 4, NumLayers = layers,
        NumClasses = 10, PruneLayers = layers == 9 ? [1, 3, 5] : [1, 3],
    };
}
