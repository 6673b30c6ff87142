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

    /// <summary>A mirror image one time in two.</summary>
    Flip,

    /// <summary>A random box of 5 to 100 % of the area, scaled; no flip (as APT's authors fine-tune).</summary>
    RandomResizedCrop,

    /// <summary>A black border, a random window of the original size, and a mirror image one time in two.</summary>
    PadCropFlip,

    /// <summary>The data set's usual window with mirror images, then <see cref="Espalier.Data.ColorJitter"/>.</summary>
    ColorJitter,

    /// <summary>The data set's usual window with mirror images, then <see cref="Espalier.Data.RandAugment"/>.</summary>
    RandAugment,

    /// <summary>As DeiT is trained (arXiv 2012.12877): <see cref="RandAugment"/>, and <see cref="RandomErasing"/> at last.</summary>
    Deit,
}

/// <summary>
/// From a stored picture to a model's input: grey where the model is grey, the transforms, a final resize (straight to a square)
/// where they did not give the right size, RGB by repetition where the model is RGB, normalisation.
/// Has no state: one object serves all threads.
/// </summary>
public sealed class ImagePipeline
{
    // Smallest share of a picture's area that DeiT is trained on.
    private const double LeastOfDeit = 0.08;

    [ThreadStatic]
    private static ImageScratch? threadScratch;

    private readonly IImageTransform[] transforms;
    private readonly Resize finalResize;
    private readonly bool bgr;
    private readonly float[] normalised;        // [Channels, 256]

    /// <param name="preprocessing">Size, colours and numbers; its resize and crop are for those who put them into
    /// <paramref name="transforms"/>.</param>
    /// <param name="transforms">What brings a picture to that size.</param>
    public ImagePipeline(Preprocessing preprocessing, params IReadOnlyList<IImageTransform> transforms)
    {
        Preprocessing = preprocessing.Checked(nameof(preprocessing));
        this.transforms = [.. transforms];
        finalResize = new Resize(ImageSize, preprocessing.Filter);
        bgr = preprocessing.Colors == ColorOrder.Bgr;
        normalised = new float[Channels * 256];
        for (int i = 0; i < normalised.Length; i++)
            normalised[i] = ((i & 255) / preprocessing.Divisor - preprocessing.MeanOf(i >> 8)) / preprocessing.StdOf(i >> 8);
    }

    public Preprocessing Preprocessing { get; }

    /// <summary>S, pixels a side.</summary>
    public int ImageSize => Preprocessing.Size;

    /// <summary>C: 1 or 3.</summary>
    public int Channels => Preprocessing.Channels;

    /// <summary>What is done to a picture after it is normalised; null for nothing.</summary>
    public RandomErasing? Erasing { get; init; }

    /// <summary>What is done to a picture but for its normalisation, step by step.</summary>
    public string Description =>
        string.Join(", ", [.. transforms.Select(t => t.Description), .. Erasing is null ? (string[])[] : [Erasing.Description]]);

    /// <summary>Evaluation: what the preprocessing says and nothing else.</summary>
    public static ImagePipeline Eval(Preprocessing preprocessing) => new(preprocessing, new ResizeAndCrop(preprocessing));

    /// <summary>Evaluation as ViT's and APT's authors do it: straight to S x S, mean and deviation 0.5.</summary>
    public static ImagePipeline Eval(int size, int channels) => Eval(Preprocessing.Half(size, channels));

    /// <summary>Training on <paramref name="info"/>'s pictures, with the preprocessing's colours, numbers and filter.</summary>
    public static ImagePipeline Train(DatasetInfo info, Preprocessing preprocessing, Augmentation kind = Augmentation.Default)
    {
        bool fashion = info.Name.StartsWith("fashion-mnist", StringComparison.Ordinal);
        if (kind == Augmentation.Default) kind = fashion ? Augmentation.PadCropFlip : Augmentation.RandomResizedCrop;
        var whole = new ResizeAndCrop(preprocessing);
        int size = preprocessing.Size;
        // A folder's pictures differ in size, so the border is measured on what the model sees.
        IImageTransform[] padded = info.Name == "folder"
            ? [whole, new PadAndCrop(Math.Max(size / 8, 1)), new RandomFlip()]
            : [new PadAndCrop(fashion ? 2 : Math.Max(info.ImageSize / 8, 1)), new RandomFlip(), whole];
        IImageTransform[] window = fashion ? padded
            : [new RandomResizedCrop(size, LeastOfDeit, Interpolation: preprocessing.Filter), new RandomFlip()];
        return new ImagePipeline(preprocessing, kind switch
        {
            Augmentation.None => [whole],
            Augmentation.Flip => [new RandomFlip(), whole],
            Augmentation.RandomResizedCrop => [new RandomResizedCrop(size, Interpolation: preprocessing.Filter)],
            Augmentation.PadCropFlip => padded,
            Augmentation.ColorJitter => [.. window, new ColorJitter()],
            Augmentation.RandAugment or Augmentation.Deit => [.. window, new RandAugment()],
            _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "not an augmentation"),
        })
        {
            Erasing = kind == Augmentation.Deit ? new RandomErasing() : null,
        };
    }

    /// <summary>The same with mean and deviation 0.5 on pictures that are scaled straight to S x S.</summary>
    public static ImagePipeline Train(DatasetInfo info, int size, int channels, Augmentation kind = Augmentation.Default) =>
        Train(info, Preprocessing.Half(size, channels), kind);

    /// <summary>What the model sees of a picture, to draw on: the picture itself unless its borders are cut off.</summary>
    public static Image Seen(Preprocessing preprocessing, Image image)
    {
        if (preprocessing.Crop is null) return image;
        var none = new Rng(0);
        return new ResizeAndCrop(preprocessing).Apply(image, ref none, new ImageScratch());
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
            int step = image.Channels, from = step == 1 ? 0 : bgr ? 2 - c : c;
            for (int i = 0; i < plane.Length; i++, from += step) plane[i] = table[pixels[from]];
        }
        Erasing?.Apply(output, Channels, ImageSize, ref rng);
    }
}
