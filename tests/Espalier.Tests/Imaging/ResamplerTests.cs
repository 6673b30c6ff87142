using Espalier.Imaging;

namespace Espalier.Tests.Imaging;

public class ResamplerTests
{
    [Theory]
    [InlineData("gray-up", "gray-in", 64, 64, Interpolation.Bilinear)]
    [InlineData("gray-up-cubic", "gray-in", 61, 47, Interpolation.Bicubic)]
    [InlineData("gray-down", "gray-in", 11, 9, Interpolation.Bilinear)]
    [InlineData("gray-width-only", "gray-in", 40, 28, Interpolation.Bilinear)]
    [InlineData("gray-height-only", "gray-in", 28, 13, Interpolation.Bicubic)]
    [InlineData("rgb-up", "rgb-in", 96, 80, Interpolation.Bilinear)]
    [InlineData("rgb-up-cubic", "rgb-in", 96, 80, Interpolation.Bicubic)]
    [InlineData("rgb-down", "rgb-in", 16, 16, Interpolation.Bilinear)]
    [InlineData("rgb-down-cubic", "rgb-in", 17, 7, Interpolation.Bicubic)]
    public void WholePictureEqualsPilToTheByte(string golden, string source, int width, int height, Interpolation kind) =>
        Golden.AssertSame(Golden.Read("resize-" + golden), Resampler.Resize(Golden.Read(source), width, height, kind));

    [Theory]
    [InlineData("rgb-box", 5, 3, 13, 21, 32, 32, Interpolation.Bilinear)]
    [InlineData("rgb-box-same-width", 9, 4, 20, 9, 20, 32, Interpolation.Bicubic)]
    [InlineData("rgb-box-copy", 25, 22, 20, 10, 20, 10, Interpolation.Bilinear)]
    public void BoxEqualsPilsCropThenResize(string golden, int left, int top, int boxWidth, int boxHeight, int width, int height,
        Interpolation kind)
    {
        var target = new Image(width, height, 3);
        Resampler.Resize(Golden.Read("rgb-in"), left, top, boxWidth, boxHeight, target, kind);
        Golden.AssertSame(Golden.Read("resize-" + golden), target);
    }

    [Theory]
    [InlineData(-1, 0, 4, 4)]
    [InlineData(0, 30, 4, 3)]
    [InlineData(0, 0, 0, 4)]
    [InlineData(int.MaxValue, 0, 4, 4)]
    public void BoxOutsideThePictureIsRefused(int left, int top, int width, int height) => Assert.Throws<ArgumentException>(() =>
        Resampler.Resize(Golden.Read("rgb-in"), left, top, width, height, new Image(8, 8, 3), Interpolation.Bilinear));

    /// <summary>The vector path and its scalar tail, at lengths around the vector's.</summary>
    [Fact]
    public void RowSumsEqualTheScalarFormula()
    {
        var random = new Espalier.Tensors.Rng(5);
        for (int length = 0; length < 70; length++)
        {
            byte[] row = new byte[length];
            for (int i = 0; i < length; i++) row[i] = (byte)random.NextInt(256);
            int weight = random.NextInt(1 << 23) - (1 << 22);
            int[] sum = new int[length];
            Array.Fill(sum, 1 << 21);
            ByteRows.AddScaled(row, weight, sum);
            byte[] clipped = new byte[length];
            ByteRows.ShiftAndClip(sum, 22, clipped);
            for (int i = 0; i < length; i++)
            {
                Assert.Equal((1 << 21) + row[i] * weight, sum[i]);
                Assert.Equal(Math.Clamp(sum[i] >> 22, 0, 255), clipped[i]);
            }
        }
    }
}
