using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels;

public sealed class KernelInfoTests
{
    [Fact]
    public void TheExpectedKernelsAreUsed()
    {
        Assert.Contains(KernelInfo.Name, new[] { "avx512", "avx2", "advsimd", "portable" });
        Assert.NotEmpty(KernelInfo.Reason);
        string? expected = Environment.GetEnvironmentVariable("ESPALIER_EXPECT_KERNEL");
        if (!string.IsNullOrEmpty(expected))
        {
            Assert.Equal(expected, KernelInfo.Name);
        }
    }

    [Fact]
    public void LowerKernelsCanBeAskedFor()
    {
        Assert.Equal("portable", KernelInfo.Choose("portable").Tiles.Name);
        Assert.Equal(KernelInfo.HasAvx2 ? "avx2" : KernelInfo.Choose(null).Tiles.Name, KernelInfo.Choose("avx2").Tiles.Name);
        Assert.Equal(Hardware.HasArm64, KernelInfo.Choose("advsimd").Tiles.Name == "advsimd");
        Assert.Contains("portable", KernelInfo.Choose("portable").Reason);
    }

    [Fact]
    public void AnUnknownNameIsReported()
    {
        (TileSet tiles, string reason) = KernelInfo.Choose("avx1024");
        Assert.Same(KernelInfo.Choose(null).Tiles, tiles);
        Assert.Contains("avx1024", reason);
    }
}
