namespace Espalier.Models;

/// <summary>
/// What timm and torchvision call networks that have another name here. Only those that are the same function of the same size
/// are in it, so that taking one for the other changes nothing; what is merely near is suggested and never taken.
/// </summary>
internal static class PresetNames
{
    private static readonly Dictionary<string, string> Others = new(StringComparer.OrdinalIgnoreCase)
    {
        ["vit_tiny_patch16_224"] = "ViT-Ti_16", ["vit_small_patch16_224"] = "ViT-S_16", ["vit_base_patch16_224"] = "ViT-B_16",
        ["vit_base_patch32_224"] = "ViT-B_32", ["vit_large_patch16_224"] = "ViT-L_16", ["vit_large_patch32_224"] = "ViT-L_32",
        ["vit_huge_patch14_224"] = "ViT-H_14", ["vit_b_16"] = "ViT-B_16", ["vit_b_32"] = "ViT-B_32", ["vit_l_16"] = "ViT-L_16",
        ["vit_l_32"] = "ViT-L_32", ["vit_h_14"] = "ViT-H_14", ["deit_tiny_patch16_224"] = "DeiT-Ti_16",
        ["deit_small_patch16_224"] = "DeiT-S_16", ["deit_base_patch16_224"] = "DeiT-B_16",
        ["deit_tiny_distilled_patch16_224"] = "DeiT-Ti_16-distilled", ["deit_small_distilled_patch16_224"] = "DeiT-S_16-distilled",
        ["deit_base_distilled_patch16_224"] = "DeiT-B_16-distilled", ["mobilenetv2_100"] = "mobilenet_v2",
        ["regnetx_004"] = "regnet_x_400mf", ["regnety_004"] = "regnet_y_400mf", ["regnety_008"] = "regnet_y_800mf",
        ["legacy_xception"] = "xception",
    };

    /// <summary>All names that stand for a network: those of the presets, and others' for them.</summary>
    public static IEnumerable<string> All => VitPresets.Names.Concat(CnnPresets.Names).Concat(Others.Keys);

    /// <summary>The others' names and the presets that they stand for.</summary>
    public static IReadOnlyDictionary<string, string> Aliases => Others;

    /// <summary>The preset's name where it is another's; else as it is.</summary>
    public static string Canonical(string name) => Others.GetValueOrDefault(name, name);
}
