using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Data;

/// <summary>One step between a picture as it is stored and the picture a model sees; 8 bits a sample in and out.</summary>
public interface IImageTransform
{
    /// <summary>The transform and its numbers, the same wherever it is asked for: what decides on a run's weights.</summary>
    string Description => GetType().Name;

    /// <summary>A picture of <paramref name="scratch"/>, or <paramref name="image"/> itself, which it never changes.</summary>
    Image Apply(Image image, ref Rng rng, ImageScratch scratch);
}

/// <summary>Scales to size x size, whatever the shape was.</summary>
public sealed record Resize(int Size, Interpolation Interpolation = Interpolation.Bilinear) : IImageTransform
{
    public string Description => FormattableString.Invariant($"Resize {Size} {Interpolation}");

    public Image Apply(Image image, ref Rng rng, ImageScratch scratch)
    {
        if (image.Width == Size && image.Height == Size) return image;
        var target = scratch.Take(Size, Size, image.Channels);
        Resampler.Resize(image, 0, 0, image.Width, image.Height, target, Interpolation);
        return target;
    }
}

/// <summary>
/// Scales and cuts out the centre as <paramref name="How"/> says, as torchvision does it. Only what is cut out is computed:
/// a long and thin picture would need much memory with its shorter side enlarged.
/// </summary>
public sealed record ResizeAndCrop(Preprocessing How) : IImageTransform
{
    public string Description => FormattableString.Invariant($"ResizeAndCrop {How.Resize} {How.Crop ?? How.Resize} {How.Fit} {How.Filter}");

    public Image Apply(Image image, ref Rng rng, ImageScratch scratch)
    {
        var (width, height) = How.Fit == ResizeFit.Square ? (How.Resize, How.Resize)
            : ImageOps.ShorterSideSize(image.Width, image.Height, How.Resize);
        int outWidth = How.Crop ?? (int)width, outHeight = How.Crop ?? (int)height;
        if ((width, height) == (image.Width, image.Height) && (outWidth, outHeight) == (image.Width, image.Height)) return image;
        long left = ImageOps.CenterOffset(width, outWidth), top = ImageOps.CenterOffset(height, outHeight);
        Image part = scratch.Take((int)Math.Min(width, outWidth), (int)Math.Min(height, outHeight), image.Channels);
        Resampler.ResizePart(image, width, height, Math.Max(left, 0), Math.Max(top, 0), part, How.Filter);
        if ((part.Width, part.Height) == (outWidth, outHeight)) return part;
        Image padded = scratch.Take(outWidth, outHeight, image.Channels);
        ImageOps.Crop(part, (int)Math.Min(left, 0), (int)Math.Min(top, 0), padded);
        return padded;
    }
}

/// <summary>A black border of <paramref name="Padding"/> pixels, then a random window of the original size.</summary>
public sealed record PadAndCrop(int Padding) : IImageTransform
{
    public string Description => FormattableString.Invariant($"PadAndCrop {Padding}");

    public Image Apply(Image image, ref Rng rng, ImageScratch scratch)
    {
        int top = rng.NextInt(2 * Padding + 1) - Padding, left = rng.NextInt(2 * Padding + 1) - Padding;
        var target = scratch.Take(image.Width, image.Height, image.Channels);
        ImageOps.Crop(image, left, top, target);
        return target;
    }
}

/// <summary>The mirror image, one time in two.</summary>
public sealed record RandomFlip(float Probability = 0.5f) : IImageTransform
{
    public string Description => FormattableString.Invariant($"RandomFlip {Probability}");

    public Image Apply(Image image, ref Rng rng, ImageScratch scratch)
    {
        if (rng.NextFloat() >= Probability) return image;
        var target = scratch.Take(image.Width, image.Height, image.Channels);
        ImageOps.FlipHorizontal(image, target);
        return target;
    }
}

/// <summary>
/// A random box (its share of the area uniform, its aspect log-uniform), scaled to size x size: the crop of Inception
/// (Szegedy et al. 2015). After ten boxes that do not fit, the largest centred one of an allowed aspect.
/// </summary>
/// <param name="MinArea">Smallest share of the picture's area.</param>
public sealed record RandomResizedCrop(int Size, double MinArea = 0.05, double MaxArea = 1.0,
    Interpolation Interpolation = Interpolation.Bilinear) : IImageTransform
{
    private const double MinAspect = 3.0 / 4.0, MaxAspect = 4.0 / 3.0;

    public string Description => FormattableString.Invariant($"RandomResizedCrop {Size} {MinArea} to {MaxArea} {Interpolation}");

    public Image Apply(Image image, ref Rng rng, ImageScratch scratch)
    {
        var (left, top, width, height) = Box(image.Width, image.Height, ref rng);
        var target = scratch.Take(Size, Size, image.Channels);
        Resampler.Resize(image, left, top, width, height, target, Interpolation);
        return target;
    }

    internal (int Left, int Top, int Width, int Height) Box(int width, int height, ref Rng rng)
    {
        double area = (double)width * height, low = Math.Log(MinAspect), high = Math.Log(MaxAspect);
        for (int attempt = 0; attempt < 10; attempt++)
        {
            double wanted = area * (MinArea + (MaxArea - MinArea) * rng.NextDouble());
            double aspect = Math.Exp(low + (high - low) * rng.NextDouble());
            int w = (int)Math.Round(Math.Sqrt(wanted * aspect)), h = (int)Math.Round(Math.Sqrt(wanted / aspect));
            if (w < 1 || h < 1 || w > width || h > height) continue;
            int top = rng.NextInt(height - h + 1), left = rng.NextInt(width - w + 1);
            return (left, top, w, h);
        }
        double ratio = (double)width / height;
        int boxWidth = ratio > MaxAspect ? Math.Max((int)Math.Round(height * MaxAspect), 1) : width;
        int boxHeight = ratio < MinAspect ? Math.Max((int)Math.Round(width / MinAspect), 1) : height;
        return ((width - boxWidth) / 2, (height - boxHeight) / 2, boxWidth, boxHeight);
    }
}
