using Espalier.Data;
using Espalier.Imaging;
using Espalier.Tensors;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Data;

public class ImagePipelineTests
{
    private static float[] Run(ImagePipeline pipeline, Image image, ulong seed = 1)
    {
        var rng = new Rng(seed);
        float[] output = new float[pipeline.Channels * pipeline.ImageSize * pipeline.ImageSize];
        pipeline.Run(image, ref rng, output);
        return output;
    }

    /// <summary>By hand: (x / 255 - 0.5) / 0.5, and the same with the mean and deviation of ImageNet's channels.</summary>
    [Fact]
    public void NormalisationHasTheKnownValues()
    {
        var image = new Image(2, 2, 1, [0, 128, 255, 0]);
        float[] half = Run(ImagePipeline.Eval(2, 1), image);
        Assert.Equal([-1f, 0.00392157f, 1f, -1f], half, (a, b) => Math.Abs(a - b) < 1e-7);

        float[] imageNet = Run(new ImagePipeline(Preprocessing.Preset("imagenet", 2)), image);
        Assert.Equal([-2.1179039f, -2.0357143f, -1.8044444f], [imageNet[0], imageNet[4], imageNet[8]],
            (a, b) => Math.Abs(a - b) < 1e-6);
    }

    [Fact]
    public void EvaluationResizesStraightAndGivesPlanes()
    {
        var expected = Golden.Read("resize-rgb-down");
        float[] output = Run(ImagePipeline.Eval(16, 3), Golden.Read("rgb-in"));
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < 256; i++)
                Assert.Equal((expected.Pixels[3 * i + c] / 255f - 0.5f) / 0.5f, output[256 * c + i]);
    }

    [Fact]
    public void ChannelsAreConvertedBothWays()
    {
        float[] rgb = Run(ImagePipeline.Eval(28, 3), Golden.Read("gray-in"));
        float[] gray = Run(ImagePipeline.Eval(28, 1), Golden.Read("gray-in"));
        for (int c = 0; c < 3; c++) Assert.Equal(gray, rgb[(784 * c)..(784 * (c + 1))]);
        var small = ImagePipeline.Eval(20, 1);
        Assert.Equal(Run(small, Golden.Read("rgb-to-gray")), Run(small, Golden.Read("rgb-in")));
    }

    [Fact]
    public void ImageNetEvaluationCropsTheCentre()
    {
        var image = new Image(64, 32, 3);
        for (int y = 0; y < 32; y++) image.Pixels.AsSpan((y * 64 + 20) * 3, 24 * 3).Fill(255);
        // Scaled to 32 x 16, the middle 14 x 14 of it.
        float[] output = Run(ImagePipeline.Eval(Preprocessing.Preset("deit", 14)), image);
        float white = (1 - 0.485f) / 0.229f, black = -0.485f / 0.229f;
        Assert.Equal(white, output[7 * 14 + 7], 5);
        Assert.NotEqual(black, output[7 * 14 + 7]);
        Assert.Equal(output[7 * 14], output[7 * 14 + 13], 5);
    }

    [Fact]
    public void DefaultsFollowTheDataSet()
    {
        var fashion = new DatasetInfo("fashion-mnist-sample", "", 1, 28, 10);
        var ones = new Image(28, 28, 1, [.. Enumerable.Repeat((byte)255, 784)]);
        var pipeline = ImagePipeline.Train(fashion, 28, 1);
        var borders = new HashSet<int>();
        for (ulong seed = 0; seed < 200; seed++) borders.Add(Run(pipeline, ones, seed).Count(v => v == -1f));
        Assert.Equal(0, borders.Min());
        Assert.Equal(28 * 28 - 26 * 26, borders.Max());                 // a shift by 2 both ways

        var cifar = new DatasetInfo("cifar10", "", 3, 32, 10);
        float[] crop = Run(ImagePipeline.Train(cifar, 32, 1), ones);
        Assert.All(crop, v => Assert.Equal(1f, v));
        Assert.Equal(Run(ImagePipeline.Eval(28, 1), Golden.Read("gray-in")),
            Run(ImagePipeline.Train(fashion, 28, 1, Augmentation.None), Golden.Read("gray-in")));
    }

    [Fact]
    public void FlipHappensHalfTheTime()
    {
        var image = new Image(2, 1, 1, [1, 2]);
        var scratch = new ImageScratch();
        var rng = new Rng(1);
        int flips = 0;
        for (int i = 0; i < 1000; i++)
        {
            flips += new RandomFlip().Apply(image, ref rng, scratch).Pixels[0] - 1;
            scratch.Reset();
        }
        Assert.InRange(flips, 440, 560);
    }

    [Fact]
    public void RandomBoxesFillTheirRanges()
    {
        var crop = new RandomResizedCrop(8);
        var rng = new Rng(2);
        double smallest = 1, largest = 0;
        for (int i = 0; i < 5000; i++)
        {
            var (left, top, width, height) = crop.Box(64, 48, ref rng);
            Assert.True(left >= 0 && top >= 0 && left + width <= 64 && top + height <= 48);
            Assert.InRange((double)width / height, 0.66, 1.5);
            double area = width * height / (64.0 * 48);
            (smallest, largest) = (Math.Min(smallest, area), Math.Max(largest, area));
        }
        Assert.InRange(smallest, 0.04, 0.07);
        Assert.InRange(largest, 0.93, 1.0);
    }

    /// <summary>Where no box fits: the largest centred one of an allowed aspect.</summary>
    [Theory]
    [InlineData(1000, 10, 493, 0, 13, 10)]
    [InlineData(10, 1000, 0, 493, 10, 13)]
    public void LongPicturesFallBackToTheCentre(int width, int height, int left, int top, int boxWidth, int boxHeight)
    {
        var rng = new Rng(3);
        Assert.Equal((left, top, boxWidth, boxHeight), new RandomResizedCrop(8, 0.9, 1).Box(width, height, ref rng));
    }

    [Fact]
    public void SmallPictureIsPaddedForACentreCrop()
    {
        var rng = new Rng(1);
        var how = new ResizeAndCrop(Preprocessing.Half(1, 1) with { Crop = 4 });
        var padded = how.Apply(new Image(1, 1, 1, [5]), ref rng, new ImageScratch());
        Assert.Equal(5, padded.Pixels[1 * 4 + 1]);
        Assert.Equal(5, padded.Pixels.Sum(p => p));
    }
}
