using System.Runtime.Intrinsics;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Simd;

public sealed unsafe class NormalTests
{
    [Fact]
    public void IsCloseToDoublePrecision()
    {
        for (int i = -120_000; i <= 120_000; i++)
        {
            float x = i / 10_000f;
            double phi = 0.5 * (1 + Exact(x / Math.Sqrt(2)));
            Assert.InRange(Math.Abs(Normal.Phi<Scalar, float>(x) - phi), 0, 3e-7);
            Assert.InRange(Math.Abs(Normal.Gelu<Scalar, float>(x) - (x * phi)), 0, Math.Max(3e-7, 2e-7 * Math.Abs(x)));
        }
    }

    [Fact]
    public void GeluKeepsItsRelativeErrorNearZero()
    {
        for (float x = 1e-30f; x < 0.5f; x *= 1.7f)
        {
            double phi = 0.5 * (1 + Exact(x / Math.Sqrt(2)));
            Assert.InRange(Math.Abs((Normal.Gelu<Scalar, float>(x) / (x * phi)) - 1), 0, 1e-6);
            Assert.InRange(Math.Abs((Normal.Gelu<Scalar, float>(-x) / (-x * (1 - phi))) - 1), 0, 1e-6);
        }
    }

    [Fact]
    public void EndsAreThoseOfTheDistribution()
    {
        Assert.Equal(0f, Normal.Gelu<Scalar, float>(0f));
        Assert.Equal(1e30f, Normal.Gelu<Scalar, float>(1e30f));
        Assert.Equal(float.PositiveInfinity, Normal.Gelu<Scalar, float>(float.PositiveInfinity));
        Assert.InRange(Normal.Gelu<Scalar, float>(float.NegativeInfinity), -1e-15f, 0f);
        Assert.True(float.IsNaN(Normal.Gelu<Scalar, float>(float.NaN)));
        Assert.Equal(1f, Normal.Phi<Scalar, float>(float.PositiveInfinity));
        Assert.InRange(Normal.Phi<Scalar, float>(float.NegativeInfinity), 0f, 1e-15f);
        Assert.True(float.IsNaN(Normal.Phi<Scalar, float>(float.NaN)));
    }

    [Fact]
    public void LanesRoundLikeScalars()
    {
        if (Hardware.Has512) CheckLanes<Simd512, Vector512<float>>();
        if (Hardware.Has256) CheckLanes<Simd256, Vector256<float>>();
        CheckLanes<Simd128, Vector128<float>>();
    }

    private static void CheckLanes<S, V>() where S : ISimd<V> where V : struct
    {
        float* x = stackalloc float[16], gelu = stackalloc float[16], phi = stackalloc float[16];
        for (int i = -700; i <= 700; i++)
        {
            for (int lane = 0; lane < 16; lane++) x[lane] = (i / 50f) + (0.001f * lane);
            if (i == 700) (x[0], x[S.Width - 1]) = (float.NaN, float.NegativeInfinity);
            S.Store(Normal.Gelu<S, V>(S.Load(x)), gelu);
            S.Store(Normal.Phi<S, V>(S.Load(x)), phi);
            for (int lane = 0; lane < S.Width; lane++)
            {
                Assert.Equal(Normal.Gelu<Scalar, float>(x[lane]), gelu[lane]);
                Assert.Equal(Normal.Phi<Scalar, float>(x[lane]), phi[lane]);
            }
        }
    }

    // The Maclaurin series of erf up to |x| = 2.5, where it still has 12 digits, and the continued fraction of erfc beyond.
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
