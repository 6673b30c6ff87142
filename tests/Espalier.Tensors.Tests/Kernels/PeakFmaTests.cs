using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels;

public sealed class PeakFmaTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void IsAFiniteRateOfAProcessor(int threads)
    {
        // Between one operation a microsecond, emulated, and a hundred times a server's core.
        Assert.InRange(PeakFma.Measure(threads), 1e-3, 1e5);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(257)]
    public void RefusesANumberOfThreadsThatWorkersCannotHave(int threads) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => PeakFma.Measure(threads));
}
