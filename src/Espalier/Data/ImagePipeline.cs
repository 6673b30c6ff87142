using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Data;

/// <summary>What is done to training pictures so that no epoch sees the same ones.</summary>
public enum Augmentation
{
    /// <summary>Nothing: as for evaluation.</summary>
    None,

    /// <summary>The data set's usual one: pad, crop and flip for Fashion-MNIST, random resized crops for the others.</summary>
    Default,

    /// <summary>A random box of 5 to 100 % of the area, scaled; no flip (as APT's authors fine-tune).</summary>
    RandomResizedCrop,

    /// <summary>A black border, a random window of the original size, and a mirror image one time in two.</summary>
    PadCropFlip,
}

/// <summary>
/// From a stored picture to a model's input: grey where the model is grey, the transforms, a final resize (bilinear,
/// straight to a square) where they did not give the right size, RGB by repetition where the model is RGB, normalisation.
/// Has no state: one object serves all threads.
/// </summary>
public sealed class ImagePipeline
{
    [ThreadStatic]
    private static ImageScratch? threadScratch;

    private readonly IImageTransform[] transforms;
    private readonly Resize finalResize;
    private readonly float[] normalised;        // [Channels, 256]

    /// <param name="imageSize">S, pixels a side.</param>
    /// <param name="channels">C: 1 or 3.</param>
    /// <param name="mean">[C] on the scale 0 .. 1; 0.5 where null.</param>
    /// <param name="std">[C] on the scale 0 .. 1; 0.5 where null.</param>
    public ImagePipeline(int imageSize, int channels, IReadOnlyList<IImageTransform> transforms, float[]? mean = null,
        float[]? std = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(imageSize, 1);
        if (channels is not (1 or 3))
            throw new ArgumentException($"a model sees 1 or 3 channels, not {channels}", nameof(channels));
        mean ??= [.. Enumerable.Repeat(0.5f, channels)];
        std ??= [.. Enumerable.Repeat(0.5f, channels)];
        if (mean.Length != channels || std.Length != channels)
            throw new ArgumentException($"mean and std have {mean.Length} and {std.Length} numbers, not {channels}");
        ImageSize = imageSize;
        Channels = channels;
        this.transforms = [.. transforms];
        finalResize = new Resize(imageSize);
        normalised = new float[channels * 256];
        for (int i = 0; i < normalised.Length; i++) normalised[i] = ((i & 255) / 255f - mean[i >> 8]) / std[i >> 8];
    }

    /// <summary>The mean of ImageNet's training pictures, RGB on the scale 0 .. 1.</summary>
    public static float[] ImageNetMean => [0.485f, 0.456f, 0.406f];

    /// <summary>The standard deviation of ImageNet's training pictures.</summary>
    public static float[] ImageNetStd => [0.229f, 0.224f, 0.225f];

    public int ImageSize { get; }

    public int Channels { get; }

    /// <summary>Evaluation as ViT's and APT's authors do it: straight to S x S, mean and std 0.5.</summary>
    public static ImagePipeline Eval(int size, int channels) => new(size, channels, []);

    /// <summary>Evaluation as DeiT's authors do it: shorter side to S / 0.875, bicubic, centre crop, ImageNet's mean.</summary>
    public static ImagePipeline EvalImageNet(int size) => new(size, 3,
        [new ResizeShorterSide((int)(size / 0.875), Interpolation.Bicubic), new CenterCrop(size)], ImageNetMean, ImageNetStd);

    /// <summary>Training on <paramref name="info"/>'s pictures; mean and std 0.5.</summary>
    public static ImagePipeline Train(DatasetInfo info, int size, int channels, Augmentation kind = Augmentation.Default)
    {
        bool fashion = info.Name.StartsWith("fashion-mnist", StringComparison.Ordinal);
        if (kind == Augmentation.Default) kind = fashion ? Augmentation.PadCropFlip : Augmentation.RandomResizedCrop;
        IImageTransform[] transforms = kind switch
        {
            Augmentation.None => [],
            Augmentation.RandomResizedCrop => [new RandomResizedCrop(size)],
            // A folder's pictures differ in size, so the border is measured on what the model sees.
            Augmentation.PadCropFlip when info.Name == "folder" =>
                [new Resize(size), new PadAndCrop(Math.Max(size / 8, 1)), new RandomFlip()],
            Augmentation.PadCropFlip => [new PadAndCrop(fashion ? 2 : Math.Max(info.ImageSize / 8, 1)), new RandomFlip()],
            _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "not an augmentation"),
        };
        return new ImagePipeline(size, channels, transforms);
    }

    /// <param name="output">[C, S, S].</param>
    public void Run(Image image, ref Rng rng, Span<float> output)
    {
        int area = ImageSize * ImageSize;
        if (output.Length != Channels * area)
            throw new ArgumentException($"the output has {output.Length} numbers, not {Channels} x {ImageSize} x {ImageSize}");
        var scratch = threadScratch ??= new ImageScratch();
        scratch.Reset();
        if (Channels == 1 && image.Channels == 3)
        {
            var gray = scratch.Take(image.Width, image.Height, 1);
            ImageOps.ToGray(image, gray);
            image = gray;
        }
        foreach (var transform in transforms) image = transform.Apply(image, ref rng, scratch);
        image = finalResize.Apply(image, ref rng, scratch);

        for (int c = 0; c < Channels; c++)
        {
            var table = normalised.AsSpan(c * 256, 256);
            var plane = output.Slice(c * area, area);
            byte[] pixels = image.Pixels;
            int step = image.Channels, from = step == 1 ? 0 : c;
            for (int i = 0; i < plane.Length; i++, from += step) plane[i] = table[pixels[from]];
        }
    }
}
