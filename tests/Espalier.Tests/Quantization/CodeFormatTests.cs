using Espalier.Quantization;

namespace Espalier.Tests.Quantization;

/// <summary>Scales and zero points of ranges.</summary>
public class CodeFormatTests
{
    [Fact]
    public void ScaleAndZeroPointOfARange()
    {
        var (scale, zero) = CodeFormat.Activation8.Fit(-1, 3);
        Assert.Equal(0.0156862745f, scale, 2e-9f);
        Assert.Equal(64, zero);
        Assert.Equal(0.5019608f, CodeFormat.Activation8.Rounded(0.5f, scale, zero), 1e-6f);
        Assert.Equal(-1.0039216f, CodeFormat.Activation8.Rounded(-5, scale, zero), 1e-6f);
        Assert.Equal(2.9960784f, CodeFormat.Activation8.Rounded(5, scale, zero), 1e-6f);
    }

    [Fact]
    public void ARangeIsWidenedToHoldZero()
    {
        Assert.Equal((3 / 255f, 0), CodeFormat.Activation8.Fit(1, 3));
        Assert.Equal((3 / 255f, 255), CodeFormat.Activation8.Fit(-3, -1));
    }

    [Fact]
    public void WeightsAreSymmetric()
    {
        Assert.Equal((2f, 0), CodeFormat.Weight8.Fit(-254, 100));
        Assert.Equal((1f, 0), CodeFormat.Weight4.Fit(-1, 7));
        Assert.Equal(CodeFormat.Weight8, CodeFormat.Weight(8));
        Assert.Equal(CodeFormat.Weight4, CodeFormat.Weight(4));
        Assert.Equal(CodeFormat.Activation4, CodeFormat.Activation(4));
    }

    [Fact]
    public void WhatIsConstantOrTinyHasAScaleToo()
    {
        Assert.Equal((1f, 0), CodeFormat.Activation8.Fit(0, 0));
        Assert.Equal((1f, 0), CodeFormat.Weight8.Fit(0, 0));
        Assert.Equal((MathF.ScaleB(1, -23), 0), CodeFormat.Activation8.Fit(0, 1e-12f));
    }

    [Fact]
    public void WhatIsNoRangeIsRefused()
    {
        Assert.Throws<EspalierException>(() => CodeFormat.Activation8.Fit(0, float.NaN));
        Assert.Throws<EspalierException>(() => CodeFormat.Weight8.Fit(float.NegativeInfinity, 0));
        Assert.Contains("2 to 8 bits, not of 9", Assert.Throws<EspalierException>(() => CodeFormat.Weight(9)).Message);
    }
}
