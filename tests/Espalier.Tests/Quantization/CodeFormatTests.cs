using Espalier.Quantization;

namespace Espalier.Tests.Quantization;

/// <summary>Scales and zero points of ranges.</summary>
public class CodeFormatTests
{
    [Fact]
    public void ScaleAndZeroPointOfARange()
    {
        var (scale, zero) = CodeFormat.Activation(8).Fit(-1, 3);
        Assert.Equal(0.0156862745f, scale, 2e-9f);
        Assert.Equal(64, zero);
        Assert.Equal(0.5019608f, CodeFormat.Activation(8).Rounded(0.5f, scale, zero), 1e-6f);
        Assert.Equal(-1.0039216f, CodeFormat.Activation(8).Rounded(-5, scale, zero), 1e-6f);
        Assert.Equal(2.9960784f, CodeFormat.Activation(8).Rounded(5, scale, zero), 1e-6f);
    }

    [Fact]
    public void ARangeIsWidenedToHoldZero()
    {
        Assert.Equal((3 / 255f, 0), CodeFormat.Activation(8).Fit(1, 3));
        Assert.Equal((3 / 255f, 255), CodeFormat.Activation(8).Fit(-3, -1));
    }

    [Theory]
    [InlineData(4, -1, 3, 0.2666667f, 4)]
    [InlineData(2, -1, 3, 1.3333333f, 1)]
    [InlineData(8, 0.5f, 2, 0.0078431f, 0)]
    [InlineData(8, -2, -0.5f, 0.0078431f, 255)]
    public void FewerBitsAndOneSidedRanges(int bits, float min, float max, float scale, int zero)
    {
        CodeFormat format = CodeFormat.Activation(bits);
        var (s, z) = format.Fit(min, max);
        Assert.Equal(scale, s, 2e-7f);
        Assert.Equal(zero, z);
        if (bits != 4) return;
        foreach (var (x, y) in new[] { (0.1f, 0f), (1, 1.0666667f), (-1, -1.0666667f), (3, 2.9333333f) })
            Assert.Equal(y, format.Rounded(x, s, z), 1e-6f);
    }

    [Fact]
    public void WeightsAreSymmetric()
    {
        Assert.Equal((2f, 0), CodeFormat.Weight(8).Fit(-254, 100));
        Assert.Equal((1f, 0), CodeFormat.Weight(4).Fit(-1, 7));
        Assert.Equal(new CodeFormat(-127, 127, Symmetric: true), CodeFormat.Weight(8));
        Assert.Equal(new CodeFormat(-7, 7, Symmetric: true), CodeFormat.Weight(4));
        Assert.Equal(new CodeFormat(0, 15, Symmetric: false), CodeFormat.Activation(4));
    }

    [Fact]
    public void WhatIsConstantOrTinyHasAScaleToo()
    {
        Assert.Equal((1f, 0), CodeFormat.Activation(8).Fit(0, 0));
        Assert.Equal((1f, 0), CodeFormat.Weight(8).Fit(0, 0));
        Assert.Equal((MathF.ScaleB(1, -23), 0), CodeFormat.Activation(8).Fit(0, 1e-12f));
    }

    [Fact]
    public void WhatIsNoRangeIsRefused()
    {
        Assert.Throws<EspalierException>(() => CodeFormat.Activation(8).Fit(0, float.NaN));
        Assert.Throws<EspalierException>(() => CodeFormat.Weight(8).Fit(float.NegativeInfinity, 0));
        Assert.Contains("2 to 8 bits, not of 9", Assert.Throws<EspalierException>(() => CodeFormat.Weight(9)).Message);
    }
}
