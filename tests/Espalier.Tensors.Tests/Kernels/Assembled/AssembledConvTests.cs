using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Assembled;

public sealed unsafe class AssembledConvTests
{
    private const int Steps = 9, Stretches = 2;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void BothConventionsKeepTheirRegistersAndGiveTheSameSums(bool windows)
    {
        if (ConvTile.Instance is null || !OperatingSystem.IsLinux())
        {
            return;
        }

        for (int pixels = 1; pixels <= ConvTile.MaxPixels; pixels++)
        {
            for (int vectors = 1; vectors <= 2; vectors++)
            {
                Check(pixels, vectors, windows);
            }
        }
    }

    private static void Check(int pixels, int vectors, bool windows)
    {
        int width = vectors * ConvTile.Lanes, half = (pixels + 1) / 2, rowX = Steps + 2;
        using var x = GuardedFloats.Random(pixels * rowX * Stretches, 1);
        using var weights = GuardedFloats.Random(Stretches * Steps * width, 2);
        using var bias = GuardedFloats.Random(width, 3);
        using var y = new GuardedFloats(pixels * width);
        nint* offsets = stackalloc nint[Stretches];
        offsets[1] = pixels * rowX * sizeof(float);
        var arguments = new ConvTile.Arguments
        {
            Stretches = Stretches,
            Steps = Steps,
            Offsets = offsets,
            X = x.Pointer,
            X2 = x.Pointer + (half * rowX),
            RowX = rowX * sizeof(float),
            Weights = weights.Pointer,
            Bias = bias.Pointer,
            Y = y.Pointer,
            Y2 = y.Pointer + (half * width),
            RowY = width * sizeof(float),
            Modes = (long)ConvTile.Modes.Relu,
            Mask = 0xFFFFFFFFL,
            Ahead = weights.Pointer,
        };
        byte* inner = ExecutablePage.Create(AssembledConv.Assemble(pixels, vectors, codes: false, windows), out _);
        byte* outer = ExecutablePage.Create(ConventionCaller.Assemble(inner, windows), out _);
        ulong* registers = stackalloc ulong[32];
        ((delegate* unmanaged<ConvTile.Arguments*, ulong*, void>)outer)(&arguments, registers);
        ConventionCaller.AssertKept(registers, windows);
        for (int p = 0; p < pixels; p++)
        {
            for (int o = 0; o < width; o++)
            {
                double sum = bias[o];
                for (int k = 0; k < Stretches * Steps; k++)
                {
                    sum += (double)x[(k / Steps * pixels * rowX) + (p * rowX) + (k % Steps)] * weights[(k * width) + o];
                }

                Assert.Equal(Math.Max(0, sum), y[(p * width) + o], 1e-5);
            }
        }
    }
}
