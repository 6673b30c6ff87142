using System.Runtime.Intrinsics;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Simd;

public sealed unsafe class ExpTests
{
    [Fact]
    public void NonPositiveIsRightToTwoUlp()
    {
        for (float x = 0f; x > -86.9f; x = x * 1.0007f - 1e-4f)
        {
            double expected = Math.Exp(x);
            float actual = Exp.NonPositive<Scalar, float>(x);
            Assert.True(Math.Abs(actual - expected) <= 2.4e-7 * expected, $"exp({x}): {actual}, not {expected}");
        }
    }

    [Fact]
    public void PowerOfTwoIsRightToTwoUlp()
    {
        for (float x = 0f; x > -124f; x = x * 1.0007f - 1e-4f)
        {
            double expected = Math.Pow(2, x);
            float actual = Exp.PowerOfTwo<Scalar, float>(x);
            Assert.True(Math.Abs(actual - expected) <= 2.4e-7 * expected, $"2^{x}: {actual}, not {expected}");
        }
    }

    [Fact]
    public void EndsAreExact()
    {
        Assert.Equal(1f, Exp.NonPositive<Scalar, float>(0f));
        Assert.Equal(1f, Exp.PowerOfTwo<Scalar, float>(0f));
        Assert.Equal(0f, Exp.NonPositive<Scalar, float>(-87.5f));
        Assert.Equal(0f, Exp.NonPositive<Scalar, float>(float.NegativeInfinity));
        Assert.InRange(Exp.PowerOfTwo<Scalar, float>(-1e30f), 0f, 1e-37f);
        Assert.True(float.IsNaN(Exp.NonPositive<Scalar, float>(float.NaN)));
        Assert.True(float.IsNaN(Exp.PowerOfTwo<Scalar, float>(float.NaN)));
    }

    [Fact]
    public void LanesRoundLikeScalars()
    {
        float* x = stackalloc float[16], y = stackalloc float[16];
        for (int i = 0; i < 16; i++) x[i] = -0.37f * i * i;
        x[3] = float.NaN;
        x[5] = float.NegativeInfinity;
        if (Hardware.Has512) Check<Simd512, Vector512<float>>(x, y);
        if (Hardware.Has256) Check<Simd256, Vector256<float>>(x, y);
        Check<Simd128, Vector128<float>>(x, y);
    }

    private static void Check<S, V>(float* x, float* y) where S : ISimd<V> where V : struct
    {
        for (int i = 0; i < 16; i += S.Width) S.Store(Exp.NonPositive<S, V>(S.Load(x + i)), y + i);
        for (int i = 0; i < 16; i++) Assert.Equal(Exp.NonPositive<Scalar, float>(x[i]), y[i]);
        for (int i = 0; i < 16; i += S.Width) S.Store(Exp.PowerOfTwo<S, V>(S.Load(x + i)), y + i);
        for (int i = 0; i < 16; i++) Assert.Equal(Exp.PowerOfTwo<Scalar, float>(x[i]), y[i]);
    }
}
