using Espalier.Imaging;
using Espalier.Reporting;

namespace Espalier.Tests.Reporting;

public sealed class TokenPictureTests
{
    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 1)]
    [InlineData(3, 2)]
    public void KeptPatchesAreUntouchedAndDroppedOnesFade(int channels, int prefix)
    {
        var image = Gradient(28, 28, channels);
        int[] kept = [0, prefix + 0, prefix + 8, prefix + 48];
        var original = TokenPicture.Panel(image, 7, [.. Enumerable.Range(0, prefix + 49)], prefix);
        var panel = TokenPicture.Panel(image, 7, kept, prefix);
        Assert.Equal((168, 168, 3), (panel.Width, panel.Height, panel.Channels));
        for (int y = 0; y < 168; y++)
            for (int x = 0; x < 168; x++)
            {
                int patch = y / 24 * 7 + x / 24, at = (y * 168 + x) * 3;
                bool same = original.Pixels.AsSpan(at, 3).SequenceEqual(panel.Pixels.AsSpan(at, 3));
                Assert.Equal(patch is 0 or 8 or 48, same);
                int source = (y / 6 * 28 + x / 6) * channels;
                Assert.Equal(image.Pixels[source], original.Pixels[at]);
                Assert.Equal(image.Pixels[source + channels - 1], original.Pixels[at + 2]);
            }
    }

    /// <summary>The strip of a photo stays small, whatever the photo's size.</summary>
    [Theory]
    [InlineData(4096, 2048, 512, 256)]
    [InlineData(1, 3000, 1, 512)]
    [InlineData(512, 500, 512, 500)]
    public void LargePicturesAreScaledDown(int width, int height, int panelWidth, int panelHeight)
    {
        int[][] stages = [.. Enumerable.Repeat((int[])[0, 1], 30)];
        Image strip = TokenPicture.Strip(new Image(width, height, 1), 7, stages);
        Assert.Equal((31 * (panelWidth + 8) - 8, panelHeight), (strip.Width, strip.Height));
    }

    [Fact]
    public void AStripHasOnePanelMoreThanStages()
    {
        var image = Gradient(28, 28, 1);
        int[][] stages = [[0, 1, 2], [0, 1]];
        var strip = TokenPicture.Strip(image, 7, stages);
        Assert.Equal((3 * 168 + 2 * 8, 168), (strip.Width, strip.Height));
        var last = TokenPicture.Panel(image, 7, stages[1]);
        for (int y = 0; y < 168; y++)
            Assert.True(strip.Pixels.AsSpan((y * strip.Width + 2 * 176) * 3, 168 * 3)
                .SequenceEqual(last.Pixels.AsSpan(y * 168 * 3, 168 * 3)));
    }

    [Fact]
    public void LargeImagesKeepTheirSizeAndOddOnesTheirPatches()
    {
        Assert.Equal(224, TokenPicture.Panel(Gradient(224, 200, 3), 14, [0]).Width);
        // 10 pixels in 3 patches: edges at 0, 3, 6, 10 times the factor 17.
        var panel = TokenPicture.Panel(Gradient(10, 10, 3), 3, [0, 3]);
        var whole = TokenPicture.Panel(Gradient(10, 10, 3), 3, [.. Enumerable.Range(0, 10)]);
        bool Same(int x) => whole.Pixels.AsSpan(x * 3, 3).SequenceEqual(panel.Pixels.AsSpan(x * 3, 3));
        Assert.False(Same(112));
        Assert.True(Same(113));
        Assert.True(Same(169));
    }

    [Theory]
    [InlineData(50)]
    [InlineData(-1)]
    public void TokensOutsideTheGridAreRefused(int token) =>
        Assert.Throws<ArgumentException>(() => TokenPicture.Panel(Gradient(28, 28, 1), 7, [0, token]));

    internal static Image Gradient(int width, int height, int channels)
    {
        var image = new Image(width, height, channels);
        for (int i = 0; i < image.Pixels.Length; i++) image.Pixels[i] = (byte)(i / channels % width * 3 + i % channels * 20);
        return image;
    }
}
