using Espalier.Imaging;

namespace Espalier.Tests.Imaging;

public class ImageOpsTests
{
    private static readonly Image TwoByThree = new(3, 2, 1, [1, 2, 3, 4, 5, 6]);

    [Fact]
    public void GrayEqualsPils() =>
        Golden.AssertSame(Golden.Read("rgb-to-gray"), ImageOps.ToGray(Golden.Read("rgb-in")));

    [Fact]
    public void RgbRepeatsTheGrayChannel() =>
        Assert.Equal([1, 1, 1, 2, 2, 2], ImageOps.ToRgb(new Image(2, 1, 1, [1, 2])).Pixels);

    [Fact]
    public void FlipMirrorsRowsAndKeepsColours()
    {
        var target = new Image(3, 2, 1);
        ImageOps.FlipHorizontal(TwoByThree, target);
        Assert.Equal([3, 2, 1, 6, 5, 4], target.Pixels);

        var color = new Image(2, 1, 3);
        ImageOps.FlipHorizontal(new Image(2, 1, 3, [1, 2, 3, 4, 5, 6]), color);
        Assert.Equal([4, 5, 6, 1, 2, 3], color.Pixels);
    }

    [Fact]
    public void CropIsBlackOutside()
    {
        var target = new Image(3, 3, 1, [9, 9, 9, 9, 9, 9, 9, 9, 9]);
        ImageOps.Crop(TwoByThree, -1, -1, target);
        Assert.Equal([0, 0, 0, 0, 1, 2, 0, 4, 5], target.Pixels);
        ImageOps.Crop(TwoByThree, 2, 1, target);
        Assert.Equal([6, 0, 0, 0, 0, 0, 0, 0, 0], target.Pixels);
        ImageOps.Crop(TwoByThree, 50, 0, target);
        Assert.All(target.Pixels, p => Assert.Equal(0, p));
    }

    [Theory]
    [InlineData(500, 375, 256, 341, 256)]       // int(256 * 500 / 375)
    [InlineData(375, 500, 256, 256, 341)]
    [InlineData(33, 33, 16, 16, 16)]
    public void ShorterSideIsScaledAndLongerTruncated(int width, int height, int size, int newWidth, int newHeight) =>
        Assert.Equal((newWidth, (long)newHeight), ImageOps.ShorterSideSize(width, height, size));

    [Theory]
    [InlineData(256, 224, 16)]
    [InlineData(341, 224, 58)]                  // round(58.5), a half to even
    [InlineData(227, 224, 2)]                   // round(1.5)
    [InlineData(201, 224, -11)]                 // 11 in front, 12 behind
    public void CentreOffsetRoundsHalvesToEven(int length, int crop, int offset) =>
        Assert.Equal(offset, ImageOps.CenterOffset(length, crop));
}
