using System.Runtime.Intrinsics;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Elementwise;

public sealed class ErfTests
{
    [Fact]
    public void IsCloseToDoublePrecision()
    {
        for (int i = -60_000; i <= 60_000; i++)
        {
            float x = i / 10_000f;
            Assert.InRange(Math.Abs(Erf.Run(x) - Exact(x)), 0, 4e-7);

            float argument = x * 0.70710678f;
            double gelu = 0.5 * x * (1 + Exact(x / Math.Sqrt(2)));
            Assert.InRange(Math.Abs((0.5f * x * (1f + Erf.Run(argument))) - gelu), 0, 1e-6);
        }
    }

    [Fact]
    public void SmallArgumentsKeepTheirRelativeError()
    {
        for (float x = 1e-30f; x < 0.5f; x *= 1.7f)
        {
            Assert.InRange(Math.Abs((Erf.Run(x) / Exact(x)) - 1), 0, 4e-7);
        }
    }

    [Fact]
    public void EveryWidthGivesTheScalarAnswer()
    {
        float[] special = [0f, -0f, float.Epsilon, 100f, -100f, float.PositiveInfinity, float.NegativeInfinity, float.NaN];
        for (int i = -600; i <= 600 + special.Length; i++)
        {
            float x = i <= 600 ? i / 100f : special[i - 601];
            float expected = Erf.Run(x);
            AssertSame(expected, Erf.Run(Vector128.Create(x))[3]);
            AssertSame(expected, Erf.Run(Vector256.Create(x))[7]);
            AssertSame(expected, Erf.Run(Vector512.Create(x))[15]);
        }

        Assert.True(float.IsNaN(Erf.Run(float.NaN)));
        Assert.True(float.IsNaN(Erf.Run(Vector512.Create(float.NaN))[0]));
        Assert.Equal(1f, Erf.Run(float.PositiveInfinity));
        Assert.Equal(-1f, Erf.Run(float.NegativeInfinity));
    }

    private static void AssertSame(float expected, float actual) =>
        Assert.True(float.IsNaN(expected) ? float.IsNaN(actual) : Math.Abs(expected - actual) <= 3e-7f, $"{expected} {actual}");

    // The Maclaurin series up to |x| = 2.5, where it still has 12 digits, and the continued fraction of erfc beyond.
    private static double Exact(double x)
    {
        double a = Math.Abs(x);
        double result;
        if (a < 2.5)
        {
            double term = a;
            double sum = a;
            for (int n = 1; n < 80; n++)
            {
                term *= -a * a / n;
                sum += term / ((2 * n) + 1);
            }

            result = sum * 2 / Math.Sqrt(Math.PI);
        }
        else
        {
            double fraction = a;
            for (int n = 200; n >= 1; n--)
            {
                fraction = a + (n / 2.0 / fraction);
            }

            result = 1 - (Math.Exp(-a * a) / Math.Sqrt(Math.PI) / fraction);
        }

        return Math.CopySign(result, x);
    }
}
