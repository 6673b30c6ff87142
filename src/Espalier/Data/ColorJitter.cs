using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Data;

/// <summary>Brightness, contrast and saturation by factors that are drawn for each, in random order, as torchvision's ColorJitter
/// (hue stays).</summary>
/// <param name="Strength">Factors are between 1 less this and 1 more.</param>
public sealed record ColorJitter(float Strength = 0.4f) : IImageTransform
{
    private delegate void Change(Image source, Image target, float factor);

    public string Description => FormattableString.Invariant($"ColorJitter {Strength}");

    public Image Apply(Image image, ref Rng rng, ImageScratch scratch)
    {
        Change[] changes = [ImageColors.Brightness, ImageColors.Contrast, ImageColors.Saturation];
        for (int left = changes.Length; left > 0; left--)
        {
            int chosen = rng.NextInt(left);
            Image target = scratch.Take(image.Width, image.Height, image.Channels);
            changes[chosen](image, target, rng.NextFloat(Math.Max(0, 1 - Strength), 1 + Strength));
            changes[chosen] = changes[left - 1];
            image = target;
        }
        return image;
    }
}
