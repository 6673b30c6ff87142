using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels;

[Collection("Workers")]
public sealed unsafe class WinogradTests : IDisposable
{
    private readonly int threadsBefore = Workers.Threads;

    public void Dispose() => Workers.Threads = threadsBefore;

    [Fact]
    public void TheTransformsGiveTheCorrelationOfAPatch()
    {
        var random = new Random(3);
        float* kernel = stackalloc float[9], values = stackalloc float[Winograd.Values];
        for (int i = 0; i < 9; i++) kernel[i] = random.Next(-3, 4);
        float* patch = stackalloc float[Winograd.Values], transformed = stackalloc float[Winograd.Values];
        float* half = stackalloc float[Winograd.Values], y = stackalloc float[16];
        float bias = 0;
        Winograd.Kernel<Scalar, float>(kernel, 1, values, 1, half);
        for (int i = 0; i < Winograd.Values; i++) patch[i] = random.Next(-4, 5);
        var place = new WinogradPatch(patch, 6, 6, 1, 0, 0, null);
        Winograd.Input<Scalar, float>(&place, 0, 1, transformed, 1, half);
        for (int i = 0; i < Winograd.Values; i++) transformed[i] *= values[i];
        var target = new WinogradTarget { Y = y, Step = 1, Line = 4, Rows = 4, Columns = 4 };
        Winograd.Output<Scalar, float>(transformed, 1, &bias, target, 0, Activation.None, half);
        for (int i = 0; i < 16; i++)
        {
            double sum = 0;
            for (int tap = 0; tap < 9; tap++) sum += kernel[tap] * patch[(((i / 4) + (tap / 3)) * 6) + (i % 4) + (tap % 3)];
            Assert.Equal(sum, y[i], 1e-4);
        }
    }

    [Fact]
    public void MatchesTheSumWhateverTheSize()
    {
        if (ConvTile.Instance is null) return;
        var random = new Random(5);
        for (int round = 0; round < 60; round++)
        {
            Workers.Threads = 1 + (round % 3);
            var c = new ConvCase
            {
                Images = random.Next(1, 4),
                Height = random.Next(2, 18),
                Width = random.Next(2, 18),
                Channels = random.Next(1, 80),
                Outputs = random.Next(1, 100),
                Shape = new ConvShape(
                    3, 3, 1, new Padding(random.Next(1, 3), random.Next(0, 2), random.Next(1, 3), random.Next(0, 2))),
                Residual = random.Next(2) == 0,
                InPlace = random.Next(3) == 0,
                Bias = random.Next(2) == 0,
                Activation = (Activation)random.Next(0, 5),
            };
            c.Check((a, w, b) => new Always((WinogradConv)PackedConvTests.Create(a, w, b, "avx512")), 1e-5);
        }
    }

    [Fact]
    public void IsTakenForLargeMapsAndNotForSmallOnes()
    {
        if (ConvTile.Instance is null) return;
        using var weight = GuardedFloats.Random(64 * 64 * 9, 1);
        using var x = GuardedFloats.Random(56 * 56 * 64, 2);
        using var y = new GuardedFloats(56 * 56 * 64);
        using PackedConv conv = PackedConv.Create(64, 64, 1, weight.Pointer, null, new ConvShape(3, 3, 1, 1));
        long before = conv.Bytes;
        conv.Run(1, 3, 3, x.Pointer, 64, y.Pointer, 64, default);
        Assert.Equal(before, conv.Bytes);
        conv.Run(1, 56, 56, x.Pointer, 64, y.Pointer, 64, default);
        Assert.Equal(before + (36 * 64 * 64 * sizeof(float)), conv.Bytes);
    }

    // By the transforms even where the rule would not take them.
    private sealed class Always(WinogradConv conv) : PackedConv(conv.Channels, conv.Outputs, conv.Shape)
    {
        public override long Bytes => conv.Bytes;

        public override void Run(
            int images, int height, int width, float* x, int ldx, float* y, int ldy, in ConvEpilogue epilogue)
        {
            Window window = Shape.Over(height, width);
            conv.RunTransformed(images, window, x, ldx, y, ldy, epilogue);
        }

        public override void Dispose() => conv.Dispose();
    }
}
