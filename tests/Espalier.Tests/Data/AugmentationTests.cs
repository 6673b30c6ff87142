using Espalier.Data;
using Espalier.Imaging;
using Espalier.Tensors;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Data;

public sealed class AugmentationTests
{
    private static readonly Image Picture = Golden.Read("adjust-in");

    /// <summary>All 15 are drawn, about one time in 15 each, and made one time in two.</summary>
    [Fact]
    public void RandAugment_draws_all_its_operations()
    {
        Assert.Equal(15, RandAugment.Names.Count);
        var one = new RandAugment(Count: 1);
        var rng = new Rng(3);
        int same = 0;
        const int Times = 600;
        for (int i = 0; i < Times; i++)
        {
            var scratch = new ImageScratch();
            byte[] before = [.. Picture.Pixels];
            if (ReferenceEquals(one.Apply(Picture, ref rng, scratch), Picture)) same++;
            Assert.Equal(before, Picture.Pixels);
        }
        Assert.InRange(same, Times / 2 - 60, Times / 2 + 60);
    }

    /// <summary>Without magnitude nothing changes but what has no strength.</summary>
    [Fact]
    public void Strength_nought_leaves_the_picture()
    {
        var rng = new Rng(1);
        string[] without = ["AutoContrast", "Equalize", "Invert", "Posterize"];
        for (int i = 0; i < RandAugment.Names.Count; i++)
        {
            Image made = new RandAugment().Make(i, Picture, 0, ref rng, new ImageScratch());
            Assert.Equal(!without.Contains(RandAugment.Names[i]), Picture.Pixels.AsSpan().SequenceEqual(made.Pixels));
            Image strong = new RandAugment().Make(i, Picture, 0.9, ref rng, new ImageScratch());
            Assert.False(Picture.Pixels.AsSpan().SequenceEqual(strong.Pixels), RandAugment.Names[i]);
        }
    }

    [Fact]
    public void Jitter_without_strength_leaves_the_picture()
    {
        var rng = new Rng(1);
        Assert.Equal(Picture.Pixels, new ColorJitter(0).Apply(Picture, ref rng, new ImageScratch()).Pixels);
        Assert.NotEqual(Picture.Pixels, new ColorJitter().Apply(Picture, ref rng, new ImageScratch()).Pixels);
    }

    /// <summary>One box, the same in all channels, of 2 to 33 % of the area; one picture in four.</summary>
    [Fact]
    public void Erasing_puts_noise_into_one_box()
    {
        const int Size = 32, Channels = 3, Times = 400;
        var rng = new Rng(5);
        int erased = 0;
        for (int i = 0; i < Times; i++)
        {
            float[] image = new float[Channels * Size * Size];
            image.AsSpan().Fill(9);
            new RandomErasing().Apply(image, Channels, Size, ref rng);
            bool[] gone = [.. image.Select(x => x != 9)];
            if (!gone.Contains(true)) continue;
            erased++;
            bool[] plane = gone[..(Size * Size)];
            for (int c = 1; c < Channels; c++) Assert.Equal(plane, gone[(c * Size * Size)..((c + 1) * Size * Size)]);
            int[] at = [.. Enumerable.Range(0, plane.Length).Where(p => plane[p])];
            int width = at.Max(p => p % Size) - at.Min(p => p % Size) + 1, height = at.Max(p => p / Size) - at.Min(p => p / Size) + 1;
            Assert.Equal(width * height, at.Length);
            Assert.InRange(at.Length, 0.015 * Size * Size, 0.36 * Size * Size);
        }
        Assert.InRange(erased, Times / 4 - 40, Times / 4 + 40);
    }

    [Theory]
    [InlineData(Augmentation.ColorJitter, "RandomResizedCrop 24 0.08 to 1 Bilinear, RandomFlip 0.5, ColorJitter 0.4")]
    [InlineData(Augmentation.RandAugment, "RandomResizedCrop 24 0.08 to 1 Bilinear, RandomFlip 0.5, RandAugment 2 of magnitude 9 ± 0.5, 128")]
    [InlineData(Augmentation.Deit,
        "RandomResizedCrop 24 0.08 to 1 Bilinear, RandomFlip 0.5, RandAugment 2 of magnitude 9 ± 0.5, 128, RandomErasing 0.25")]
    public void A_run_says_what_it_does_and_repeats_it(Augmentation kind, string said)
    {
        ImagePipeline pipeline = ImagePipeline.Train(new DatasetInfo("folder", "", 3, 32, 2), 24, 3, kind);
        Assert.Equal(said, pipeline.Description);
        float[] one = new float[3 * 24 * 24], two = new float[one.Length];
        Rng first = new(7), second = new(7);
        for (int i = 0; i < 20; i++)
        {
            pipeline.Run(Picture, ref first, one);
            pipeline.Run(Picture, ref second, two);
            Assert.Equal(one, two);
            Assert.All(one, x => Assert.True(float.IsFinite(x)));
        }
    }
}
