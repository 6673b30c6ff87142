using Espalier.Models;

namespace Espalier.Tests.Models;

public class PositionResizeTests
{
    private static readonly float[] TwoByTwo = [0, 1, 2, 3];

    [Fact]
    public void AlignedCornersGiveEvenSteps() =>
        Equal([0, 0.5f, 1, 1, 1.5f, 2, 2, 2.5f, 3], PositionResize.Run(TwoByTwo, 1, 0, 3));

    [Theory]
    [InlineData(PositionResizeKind.BilinearAlignCorners, new[] { 0f, 1 / 3f, 2 / 3f, 1f })]
    [InlineData(PositionResizeKind.Bilinear, new[] { 0f, 0.25f, 0.75f, 1f })]
    [InlineData(PositionResizeKind.Bicubic, new[] { -0.31640625f, 0.015625f, 0.5625f, 0.89453125f })]
    public void FirstRowOfFour(PositionResizeKind kind, float[] expected) =>
        Equal(expected, PositionResize.Run(TwoByTwo, 1, 0, 4, kind)[..4]);

    // torch.nn.functional.interpolate(x, (3, 3), mode="bicubic", antialias=True)
    [Fact]
    public void AntialiasedCubicMatchesPyTorch()
    {
        Equal([-0.19736797f, 0.36842138f, 0.93421096f, 0.93421072f, 1.5f, 2.0657897f, 2.0657899f, 2.6315792f, 3.1973684f],
            PositionResize.Run(TwoByTwo, 1, 0, 3, PositionResizeKind.BicubicAntialias));
        float[] shrunk = PositionResize.Run(
            [.. Enumerable.Range(0, 16).Select(i => MathF.Pow(i, 1.5f))], 1, 0, 3, PositionResizeKind.BicubicAntialias);
        Equal([1.3789129f, 3.659976f, 6.9269004f, 15.6383f, 20.778831f, 26.365993f, 38.689022f, 45.528622f, 52.713352f], shrunk);
    }

    [Fact]
    public void PrefixRowsAndChannelsKeepToThemselves()
    {
        // Two extra tokens, then the 2 x 2 grid; the second channel is the first times 10, plus 5.
        float[] position = [.. new float[] { -7, -8, 0, 1, 2, 3 }.SelectMany(v => new[] { v, 10 * v + 5 })];
        float[] resized = PositionResize.Run(position, 2, 2, 3);
        Equal([-7, -65, -8, -75], resized[..4]);
        Assert.Equal((2 + 9) * 2, resized.Length);
        for (int i = 0; i < 9; i++)
        {
            float value = i % 3 * 0.5f + i / 3;
            Equal([value, 10 * value + 5], resized[(4 + 2 * i)..(6 + 2 * i)]);
        }
    }

    [Fact]
    public void TheSameGridIsLeftAlone() =>
        Assert.Equal(TwoByTwo, PositionResize.Run(TwoByTwo, 1, 0, 2, PositionResizeKind.BicubicAntialias));

    [Theory]
    [InlineData(2, 0)]
    [InlineData(1, 1)]
    [InlineData(1, 4)]
    [InlineData(3, 0)]
    public void RowsThatAreNoSquareGridAreRefused(int width, int prefix)
    {
        var e = Assert.Throws<EspalierException>(() => PositionResize.Run(TwoByTwo, width, prefix, 3));
        Assert.Contains("square grid", e.Message);
    }

    private static void Equal(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            Assert.Equal(expected[i], actual[i], 2e-6f * Math.Max(1, MathF.Abs(expected[i])));
    }
}
