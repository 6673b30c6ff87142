using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>The convolutional networks by name, with parameter names of torchvision or of the method's reference code.</summary>
public static class CnnPresets
{
    private delegate Cnn Build(CnnConfig config, ref Rng rng);

    private static readonly Dictionary<string, (int ImageSize, Build Build)> Known = new(StringComparer.Ordinal)
    {
        ["vgg11"] = (224, (CnnConfig c, ref Rng r) => new Vgg(11, norm: false, c, ref r)),
        ["vgg13"] = (224, (CnnConfig c, ref Rng r) => new Vgg(13, norm: false, c, ref r)),
        ["vgg16"] = (224, (CnnConfig c, ref Rng r) => new Vgg(16, norm: false, c, ref r)),
        ["vgg19"] = (224, (CnnConfig c, ref Rng r) => new Vgg(19, norm: false, c, ref r)),
        ["vgg11_bn"] = (224, (CnnConfig c, ref Rng r) => new Vgg(11, norm: true, c, ref r)),
        ["vgg13_bn"] = (224, (CnnConfig c, ref Rng r) => new Vgg(13, norm: true, c, ref r)),
        ["vgg16_bn"] = (224, (CnnConfig c, ref Rng r) => new Vgg(16, norm: true, c, ref r)),
        ["vgg19_bn"] = (224, (CnnConfig c, ref Rng r) => new Vgg(19, norm: true, c, ref r)),
        ["cifar-vgg11"] = (32, (CnnConfig c, ref Rng r) => new CifarVgg(11, c, ref r)),
        ["cifar-vgg16"] = (32, (CnnConfig c, ref Rng r) => new CifarVgg(16, c, ref r)),
        ["cifar-vgg19"] = (32, (CnnConfig c, ref Rng r) => new CifarVgg(19, c, ref r)),
        ["vanilla-c3"] = (32, (CnnConfig c, ref Rng r) => new VanillaCnn(c, ref r)),
        ["resnet18"] = (224, (CnnConfig c, ref Rng r) => new ResNet(18, c, ref r)),
        ["resnet34"] = (224, (CnnConfig c, ref Rng r) => new ResNet(34, c, ref r)),
        ["resnet50"] = (224, (CnnConfig c, ref Rng r) => new ResNet(50, c, ref r)),
        ["resnet101"] = (224, (CnnConfig c, ref Rng r) => new ResNet(101, c, ref r)),
        ["resnet20"] = (32, (CnnConfig c, ref Rng r) => new CifarResNet(20, c, ref r)),
        ["resnet56"] = (32, (CnnConfig c, ref Rng r) => new CifarResNet(56, c, ref r)),
        ["resnet110"] = (32, (CnnConfig c, ref Rng r) => new CifarResNet(110, c, ref r)),
        ["preresnet20"] = (32, (CnnConfig c, ref Rng r) => new PreActResNet(20, c, ref r)),
        ["preresnet56"] = (32, (CnnConfig c, ref Rng r) => new PreActResNet(56, c, ref r)),
        ["preresnet110"] = (32, (CnnConfig c, ref Rng r) => new PreActResNet(110, c, ref r)),
        ["preresnet164"] = (32, (CnnConfig c, ref Rng r) => new PreActResNet(164, c, ref r)),
        ["densenet40"] = (32, (CnnConfig c, ref Rng r) => new CifarDenseNet(40, c, ref r)),
        ["densenet121"] = (224, (CnnConfig c, ref Rng r) => new DenseNet(c, ref r)),
        ["mobilenet_v2"] = (224, (CnnConfig c, ref Rng r) => new MobileNetV2(c, ref r)),
        ["mobilenet_v3_small"] = (224, (CnnConfig c, ref Rng r) => new MobileNetV3(large: false, c, ref r)),
        ["mobilenet_v3_large"] = (224, (CnnConfig c, ref Rng r) => new MobileNetV3(large: true, c, ref r)),
        ["efficientnet_b0"] = (224, (CnnConfig c, ref Rng r) => new EfficientNet(1, 1, 0.2f, c, ref r)),
        ["efficientnet_b1"] = (240, (CnnConfig c, ref Rng r) => new EfficientNet(1, 1.1, 0.2f, c, ref r)),
        ["efficientnet_b2"] = (288, (CnnConfig c, ref Rng r) => new EfficientNet(1.1, 1.2, 0.3f, c, ref r)),
        ["efficientnet_b3"] = (300, (CnnConfig c, ref Rng r) => new EfficientNet(1.2, 1.4, 0.3f, c, ref r)),
        ["efficientnet_b4"] = (380, (CnnConfig c, ref Rng r) => new EfficientNet(1.4, 1.8, 0.4f, c, ref r)),
        ["convnext_tiny"] = (224, (CnnConfig c, ref Rng r) => new ConvNeXt(c, ref r)),
        ["regnet_x_400mf"] = (224, (CnnConfig c, ref Rng r) => new RegNet(22, 24, 24.48, 2.54, 16, squeeze: false, c, ref r)),
        ["regnet_y_400mf"] = (224, (CnnConfig c, ref Rng r) => new RegNet(16, 48, 27.89, 2.09, 8, squeeze: true, c, ref r)),
        ["regnet_y_800mf"] = (224, (CnnConfig c, ref Rng r) => new RegNet(14, 56, 38.84, 2.4, 16, squeeze: true, c, ref r)),
        ["xception"] = (299, (CnnConfig c, ref Rng r) => new Xception(c, ref r)),
        ["shufflenet_v2_x1_0"] = (224, (CnnConfig c, ref Rng r) => new ShuffleNetV2(c, ref r)),
    };

    /// <summary>All networks.</summary>
    public static IReadOnlyCollection<string> Names => Known.Keys;

    /// <summary>The published shape.</summary>
    /// <exception cref="EspalierException">There is no network of that name.</exception>
    public static CnnConfig Get(string name)
    {
        name = PresetNames.Canonical(name);
        RequireKnown(name, "model type");
        int size = Known[name].ImageSize;
        return new CnnConfig(name) { ImageSize = size, NumClasses = size == 32 ? 10 : 1000 };
    }

    /// <summary>A network with random weights.</summary>
    /// <exception cref="EspalierException">A number is out of its range, or a block that is to be removed cannot be.</exception>
    public static Cnn Create(CnnConfig config, ulong seed = 42) => Create(config, seed, config.Network);

    /// <param name="source">Of the config, for messages.</param>
    internal static Cnn Create(CnnConfig config, ulong seed, string source)
    {
        config.Checked(source);
        var rng = new Rng(seed, key0: 1);
        Cnn net = Known[config.Network].Build(config with { Removed = null }, ref rng);
        try
        {
            net.RemoveBlocks(config.Removed ?? [], source);
            return net;
        }
        catch
        {
            net.Dispose();
            throw;
        }
    }

    internal static void RequireKnown(string? name, string source)
    {
        if (name is null || !Known.ContainsKey(name))
            throw new EspalierException($"{source}: there is no network '{name}'{Near.Hint(name ?? "", PresetNames.All)}; choose one "
                + $"of {string.Join(", ", Known.Keys)}");
    }
}
