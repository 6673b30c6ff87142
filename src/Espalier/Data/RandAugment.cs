using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Data;

/// <summary>
/// RandAugment (Cubuk et al., arXiv 1909.13719) as DeiT trains with it (timm's "rand-m9-mstd0.5-inc1"): a few operations, drawn
/// from 15 with replacement, each made one time in two, with a strength that is drawn anew for each and that for all of them grows
/// with the magnitude.
/// </summary>
/// <param name="Count">Operations that are drawn for a picture.</param>
/// <param name="Magnitude">Of 10.</param>
/// <param name="Spread">Standard deviation of the magnitude.</param>
/// <param name="Fill">Samples of what comes into the picture from outside.</param>
public sealed record RandAugment(int Count = 2, double Magnitude = 9, double Spread = 0.5, byte Fill = 128) : IImageTransform
{
    private const float Probability = 0.5f;
    private const double MostDegrees = 30, MostShear = 0.3, MostShift = 0.45, MostEnhanced = 0.9;

    /// <summary>Writes the target; strength is in [0, 1].</summary>
    private delegate void Operation(Image source, Image target, double strength, ref Rng rng, byte fill);

    private static readonly (string Name, Operation Make)[] Operations =
    [
        ("AutoContrast", (Image x, Image y, double _, ref Rng _, byte _) => ImageColors.AutoContrast(x, y)),
        ("Equalize", (Image x, Image y, double _, ref Rng _, byte _) => ImageColors.Equalize(x, y)),
        ("Invert", (Image x, Image y, double _, ref Rng _, byte _) => ImageColors.Invert(x, y)),
        ("Rotate", (Image x, Image y, double s, ref Rng rng, byte fill) =>
            AffineMap.Rotation(Signed(s * MostDegrees, ref rng), x.Width, x.Height).Apply(x, y, fill)),
        ("Posterize", (Image x, Image y, double s, ref Rng _, byte _) => ImageColors.Posterize(x, y, 4 - (int)(4 * s))),
        ("Solarize", (Image x, Image y, double s, ref Rng _, byte _) => ImageColors.Solarize(x, y, 256 - (int)(256 * s))),
        ("SolarizeAdd", (Image x, Image y, double s, ref Rng _, byte _) => ImageColors.AddBelowMiddle(x, y, (int)(110 * s))),
        ("Color", (Image x, Image y, double s, ref Rng rng, byte _) => ImageColors.Saturation(x, y, Factor(s, ref rng))),
        ("Contrast", (Image x, Image y, double s, ref Rng rng, byte _) => ImageColors.Contrast(x, y, Factor(s, ref rng))),
        ("Brightness", (Image x, Image y, double s, ref Rng rng, byte _) => ImageColors.Brightness(x, y, Factor(s, ref rng))),
        ("Sharpness", (Image x, Image y, double s, ref Rng rng, byte _) => ImageColors.Sharpness(x, y, Factor(s, ref rng))),
        ("ShearX", (Image x, Image y, double s, ref Rng rng, byte fill) =>
            AffineMap.ShearX(Signed(s * MostShear, ref rng)).Apply(x, y, fill)),
        ("ShearY", (Image x, Image y, double s, ref Rng rng, byte fill) =>
            AffineMap.ShearY(Signed(s * MostShear, ref rng)).Apply(x, y, fill)),
        ("TranslateX", (Image x, Image y, double s, ref Rng rng, byte fill) =>
            AffineMap.Shift(Signed(s * MostShift, ref rng) * x.Width, 0).Apply(x, y, fill)),
        ("TranslateY", (Image x, Image y, double s, ref Rng rng, byte fill) =>
            AffineMap.Shift(0, Signed(s * MostShift, ref rng) * x.Height).Apply(x, y, fill)),
    ];

    /// <summary>What may be drawn.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Operations.Select(o => o.Name)];

    public string Description => FormattableString.Invariant($"RandAugment {Count} of magnitude {Magnitude} ± {Spread}, {Fill}");

    public Image Apply(Image image, ref Rng rng, ImageScratch scratch)
    {
        for (int i = 0; i < Count; i++)
        {
            int chosen = rng.NextInt(Operations.Length);
            if (rng.NextFloat() > Probability) continue;
            double strength = Math.Clamp(Magnitude + Spread * rng.NextNormal(), 0, 10) / 10;
            image = Make(chosen, image, strength, ref rng, scratch);
        }
        return image;
    }

    /// <summary>One of the operations, by its place among <see cref="Names"/>.</summary>
    internal Image Make(int operation, Image image, double strength, ref Rng rng, ImageScratch scratch)
    {
        Image target = scratch.Take(image.Width, image.Height, image.Channels);
        Operations[operation].Make(image, target, strength, ref rng, Fill);
        return target;
    }

    private static double Signed(double value, ref Rng rng) => rng.NextFloat() < 0.5f ? value : -value;

    private static float Factor(double strength, ref Rng rng) => (float)(1 + Signed(strength * MostEnhanced, ref rng));
}
