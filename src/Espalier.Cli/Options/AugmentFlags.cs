using System.CommandLine;
using Espalier.Data;

namespace Espalier.Cli.Options;

/// <summary>What is done to training images: options that verbs which train have in common.</summary>
internal static class AugmentFlags
{
    public static Option<string?> Kind { get; } = Opt.Choice("--augment",
        "What is done to training images [pad-crop-flip for Fashion-MNIST, else resized-crop]", "default", "none",
        "flip", "resized-crop", "pad-crop-flip", "color-jitter", "rand-augment", "deit");

    public static Option<bool> None { get; } = Opt.Flag("--no-augment", "Train on the images as they are; the same as --augment none");

    /// <summary>Both, for a verb's list.</summary>
    public static IReadOnlyList<Option> All { get; } = [Kind, None];

    /// <exception cref="EspalierException">The two contradict each other.</exception>
    public static Augmentation Read(ParseResult p)
    {
        if (p.GetValue(None) && p.GetValue(Kind) is { } kind and not "none")
            throw new EspalierException($"--no-augment and --augment {kind} contradict each other; give one of them");
        return p.GetValue(None) ? Augmentation.None : p.GetValue(Kind) switch
        {
            "none" => Augmentation.None,
            "flip" => Augmentation.Flip,
            "resized-crop" => Augmentation.RandomResizedCrop,
            "pad-crop-flip" => Augmentation.PadCropFlip,
            "color-jitter" => Augmentation.ColorJitter,
            "rand-augment" => Augmentation.RandAugment,
            "deit" => Augmentation.Deit,
            _ => Augmentation.Default,
        };
    }
}
