using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Quantised;

/// <summary>Passes over codes against plain loops.</summary>
public unsafe class CodePassesTests
{
    private static CodeStep Step => new(0.05f, 40, 0, 255);

    [Theory]
    [InlineData(3)]
    [InlineData(16)]
    [InlineData(37)]
    public void ToCodesAndBack(int channels)
    {
        const int Pixels = 11;
        int room = channels <= 4 ? 4 : Blocking.RoundUp(channels, 16);
        var rng = new Rng(1);
        float[] x = [.. Enumerable.Range(0, Pixels * channels).Select(_ => rng.NextFloat(-4, 14))], y = new float[x.Length],
            z = new float[x.Length];
        byte[] codes = new byte[Pixels * room + 16];
        CodeStep step = Step;
        fixed (float* px = x, py = y, pz = z)
        fixed (byte* pc = codes)
        {
            CodePasses.ToCodes(Pixels, channels, px, channels, step, pc, room);
            CodePasses.ToFloats(Pixels, channels, pc, room, step, py, channels);
            CodePasses.Rounded(Pixels, channels, px, channels, step, pz, channels);
        }
        float[] expected = F.Quantise(Tensor.From(new Shape(x.Length), x), Tensor.Scalar(0.05f), Tensor.Scalar(40), 0,
            255).ToArray();
        Assert.Equal(expected, y);
        Assert.Equal(expected, z);
        for (int i = 0; i < x.Length; i++) Assert.Equal((int)Math.Clamp(MathF.Round(x[i] / 0.05f) + 40, 0, 255),
            codes[i / channels * room + i % channels]);
    }

    /// <summary>Straight from planes as from pixels; the fourth byte is 0.</summary>
    [Theory]
    [InlineData(1, 7)]
    [InlineData(3, 33)]
    [InlineData(2, 50)]
    public void FromPlanes(int channels, int size)
    {
        const int Images = 2;
        int pixels = size * size;
        var rng = new Rng(3);
        float[] planes = [.. Enumerable.Range(0, Images * channels * pixels).Select(i => i % 5 == 0 ? (rng.NextULong() % 300) * 0.025f
            : rng.NextFloat(-8, 20))];
        byte[] codes = new byte[Images * pixels * 4];
        fixed (float* px = planes)
        fixed (byte* pc = codes) PlanesToCodes.Run(Images, channels, pixels, px, Step, pc);
        for (int i = 0; i < codes.Length; i++)
        {
            int channel = i % 4, pixel = i / 4 % pixels, image = i / 4 / pixels;
            int expected = channel >= channels ? 0 : (int)Math.Clamp(
                MathF.Round(planes[((image * channels + channel) * pixels) + pixel] / 0.05f) + 40, 0, 255);
            Assert.Equal(expected, codes[i]);
        }
    }

    [Theory]
    [InlineData(16)]
    [InlineData(48)]
    [InlineData(4)]
    public void LargestAndMean(int channels)
    {
        const int Size = 7, Images = 2;
        var rng = new Rng(2);
        byte[] x = [.. Enumerable.Range(0, Images * Size * Size * channels).Select(_ => (byte)(rng.NextULong() & 255))];
        var window = new Window(Size, Size, 3, 3, 2, 1, new Padding(1, 1, 1, 1));
        byte[] most = new byte[Images * window.OutArea * channels];
        float[] mean = new float[Images * channels];
        byte[] meanCodes = new byte[mean.Length];
        var result = new CodeStep(0.001f, 128, 0, 255);
        fixed (byte* px = x, pm = most, pc = meanCodes)
        fixed (float* pf = mean)
        {
            CodePasses.Max(Images, window, channels, px, channels, pm, channels);
            CodePasses.Mean(Images, Size * Size, channels, px, channels, Step, pf, channels);
            CodePasses.Mean(Images, Size * Size, channels, px, channels, Step, pc, channels, result);
        }
        for (int i = 0; i < Images; i++)
            for (int c = 0; c < channels; c++)
            {
                int sum = 0;
                for (int p = 0; p < Size * Size; p++) sum += x[(i * Size * Size + p) * channels + c] - 40;
                Assert.Equal(sum * 0.05f / (Size * Size), mean[i * channels + c], 1e-4f);
                float steps = sum * (0.05f / (result.Scale * (Size * Size)));
                Assert.Equal((int)MathF.Round(Math.Clamp(steps, result.Least, result.Most)) + 128, meanCodes[i * channels + c]);
                for (int o = 0; o < window.OutArea; o++)
                {
                    byte largest = 0;
                    for (int t = 0; t < 9; t++)
                    {
                        int h = window.Row(o / window.OutWidth, t / 3), w = window.Column(o % window.OutWidth, t % 3);
                        if ((uint)h < Size && (uint)w < Size) largest = Math.Max(largest,
                            x[((i * Size + h) * Size + w) * channels + c]);
                    }
                    Assert.Equal(largest, most[(i * window.OutArea + o) * channels + c]);
                }
            }
    }
}
