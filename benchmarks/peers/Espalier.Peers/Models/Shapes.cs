using Espalier.Models;

namespace Espalier.Peers;

/// <summary>The models that are compared, by the name that the table gives them.</summary>
internal static class Shapes
{
    public static readonly string[] Large = ["ViT-B/16", "ViT-S/16", "ViT-Ti/16"];

    /// <summary>28-pixel models of 12 blocks: width 64 and 192, 49 patches of 4 pixels and 196 of 2.</summary>
    public static readonly string[] Fashion = ["FM-64/49", "FM-64/196", "FM-192/49", "FM-192/196"];

    /// <summary>Convolutional networks for 224 pixels.</summary>
    public static readonly string[] Cnns = ["ResNet-50", "VGG-16-BN", "DenseNet-121", "MobileNetV2"];

    /// <summary>The convolutional network that is also measured with channels removed, and the share of its multiply-adds that is
    /// left then.</summary>
    public const string PrunedCnn = "ResNet-50";
    public const double PrunedShare = 0.5;

    public static VitConfig Get(string name) => name switch
    {
        "FM-64/49" => Small(width: 64, patch: 4),
        "FM-64/196" => Small(width: 64, patch: 2),
        "FM-192/49" => Small(width: 192, patch: 4),
        "FM-192/196" => Small(width: 192, patch: 2),
        _ => VitPresets.Get(name.Replace('/', '_')),
    };

    /// <summary>The convolutional network for small images, which is trained only.</summary>
    public const string SmallCnn = "ResNet-20";

    public static CnnConfig Cnn(string name) => name switch
    {
        "ResNet-50" => CnnPresets.Get("resnet50"),
        "VGG-16-BN" => CnnPresets.Get("vgg16_bn"),
        "DenseNet-121" => CnnPresets.Get("densenet121"),
        "MobileNetV2" => CnnPresets.Get("mobilenet_v2"),
        SmallCnn => CnnPresets.Get("resnet20") with { Channels = 1, ImageSize = 28 },
        _ => throw new ArgumentException($"no such network: {name}"),
    };

    private static VitConfig Small(int width, int patch) => new()
    {
        ImageSize = 28, PatchSize = patch, Channels = 1, HiddenSize = width, MlpDim = 2 * width, NumHeads = 4, NumLayers = 12,
        NumClasses = 10,
    };
}
