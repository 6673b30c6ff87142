using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels;

[Collection("Workers")]
public sealed unsafe class NhwcPassesTests
{
    private static readonly (int Images, int Channels, int Height, int Width)[] Sizes =
        [(1, 1, 1, 1), (2, 3, 5, 7), (1, 64, 7, 7), (3, 37, 20, 30), (2, 130, 9, 6)];

    [Fact]
    public void TurnsPlanesIntoPixelsAndBack()
    {
        foreach ((int images, int channels, int height, int width) in Sizes)
        {
            int area = height * width, ld = channels + 5;
            using var x = GuardedFloats.Random(images * channels * area, 1);
            using var y = new GuardedFloats((images * area * ld) - 5);
            using var back = new GuardedFloats(x.Length);
            NhwcLayout.FromNchw(images, channels, area, x.Pointer, y.Pointer, ld);
            for (int i = 0; i < x.Length; i++)
            {
                int image = i / (channels * area), c = i / area % channels, p = i % area;
                Assert.Equal(x[i], y[(((image * area) + p) * ld) + c]);
            }

            NhwcLayout.ToNchw(images, channels, area, y.Pointer, ld, back.Pointer);
            Assert.True(back.Span.SequenceEqual(x.Span));
        }
    }

    [Theory]
    [InlineData(3, 2, 1, 0)]
    [InlineData(2, 2, 0, 1)]
    [InlineData(3, 1, 1, 2)]
    [InlineData(3, 3, 1, 1)]
    [InlineData(3, 2, 1, 0, true)]
    [InlineData(2, 2, 0, 0, true)]
    [InlineData(3, 2, 1, 1, true)]
    public void PoolsAsThePlanesDo(int kernel, int stride, int padding, int kind, bool nan = false)
    {
        foreach ((int images, int channels, int height, int width) in Sizes)
        {
            var window = new Window(height, width, kernel, kernel, stride, 1, padding);
            if (window.OutArea == 0) continue;
            int ldx = channels + 2, ldy = channels + 3;
            using var planes = GuardedFloats.Random(images * channels * window.Area, 1);
            for (int i = 0; nan && i < planes.Length; i += 13) planes[i] = float.NaN;
            using var x = new GuardedFloats(images * window.Area * ldx);
            using var y = new GuardedFloats(images * window.OutArea * ldy);
            using var pooled = new GuardedFloats(images * channels * window.OutArea);
            using var expected = new GuardedFloats(pooled.Length);
            NhwcLayout.FromNchw(images, channels, window.Area, planes.Pointer, x.Pointer, ldx);
            if (kind == 0)
            {
                NhwcPooling.Max(images, window, channels, x.Pointer, ldx, y.Pointer, ldy);
                MaxPooling.Forward(planes.Pointer, images * channels, window, expected.Pointer, null);
            }
            else
            {
                NhwcPooling.Average(images, window, channels, x.Pointer, ldx, y.Pointer, ldy, kind == 1);
                AveragePooling.Forward(planes.Pointer, images * channels, window, kind == 1, expected.Pointer);
            }

            NhwcLayout.ToNchw(images, channels, window.OutArea, y.Pointer, ldy, pooled.Pointer);
            for (int i = 0; i < pooled.Length; i++) Assert.Equal(expected[i], pooled[i], 1e-6f);
        }
    }

    [Fact]
    public void TakesTheMeanOfEachImage()
    {
        foreach ((int images, int channels, int height, int width) in Sizes)
        {
            int area = height * width, ldx = channels + 4, ldy = channels + 1;
            using var x = GuardedFloats.Random(images * area * ldx, 1);
            using var y = new GuardedFloats(images * ldy);
            NhwcPooling.GlobalMean(images, area, channels, x.Pointer, ldx, y.Pointer, ldy);
            for (int i = 0; i < images * channels; i++)
            {
                int image = i / channels, c = i % channels;
                double sum = 0;
                for (int p = 0; p < area; p++) sum += x[(((image * area) + p) * ldx) + c];
                Assert.Equal(sum / area, y[(image * ldy) + c], 1e-6);
            }
        }
    }

    [Theory]
    [InlineData(Activation.Relu, false)]
    [InlineData(Activation.Relu6, false)]
    [InlineData(Activation.Relu, true)]
    [InlineData(Activation.Relu6, true)]
    internal void AppliesAffineResidualAndActivation(Activation activation, bool nan)
    {
        double most = activation == Activation.Relu6 ? 6 : double.PositiveInfinity;
        foreach ((int images, int channels, int height, int width) in Sizes)
        {
            int pixels = images * height * width, ldx = channels + 4, ldr = channels + 1, ldy = channels + 7;
            using var x = GuardedFloats.Random(pixels * ldx, 1, range: 20);
            for (int i = 0; nan && i < x.Length; i += 7) x[i] = float.NaN;
            using var scale = GuardedFloats.Random(channels, 2);
            using var shift = GuardedFloats.Random(channels, 3);
            using var residual = GuardedFloats.Random(pixels * ldr, 4);
            using var y = new GuardedFloats(pixels * ldy);
            NhwcPass.Affine(
                pixels, channels, x.Pointer, ldx, scale.Pointer, shift.Pointer, residual.Pointer, ldr, activation,
                y.Pointer, ldy);
            for (int i = 0; i < pixels * channels; i++)
            {
                int p = i / channels, c = i % channels;
                double z = ((double)x[(p * ldx) + c] * scale[c]) + shift[c] + residual[(p * ldr) + c];
                Assert.Equal(Math.Min(most, Math.Max(0, z)), y[(p * ldy) + c], 1e-5);
            }

            NhwcPass.Copy(pixels, channels, x.Pointer, ldx, y.Pointer, ldy);
            Assert.Equal(x[((pixels - 1) * ldx) + channels - 1], y[((pixels - 1) * ldy) + channels - 1]);
        }
    }

    [Fact]
    public void ScalesTheChannelsOfEachImage()
    {
        foreach ((int images, int channels, int height, int width) in Sizes)
        {
            int area = height * width, ld = channels + 4;
            using var x = GuardedFloats.Random(images * area * ld, 1);
            using var scale = GuardedFloats.Random(images * ld, 2);
            using var y = new GuardedFloats(x.Length);
            NhwcPass.ChannelScale(images, area, channels, x.Pointer, ld, scale.Pointer, ld, y.Pointer, ld);
            for (int i = 0; i < images * area * channels; i++)
            {
                int p = i / channels, c = i % channels;
                Assert.Equal(x[(p * ld) + c] * scale[(p / area * ld) + c], y[(p * ld) + c]);
            }
        }
    }
}
