using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Linear;

public sealed class DotKernelsTests
{
    [Fact]
    public void TheBestKernelThatTheProcessorHasIsChosen()
    {
        (DotTile? best, string reason) = DotKernels.ChooseInt8(assembled: true);
        (DotTile? plain, string plainReason) = DotKernels.ChooseInt8(assembled: false);
        string? intrinsics = Int8TileAvxVnni.IsSupported ? "avx-vnni" : Int8TileAvx2.IsSupported ? "avx2"
            : Int8TileDotProduct.IsSupported ? "arm-dot" : null;
        Assert.Equal(intrinsics, plain?.Name);
        Assert.Equal(CpuFeatures.HasAvx512Vnni ? "avx512-vnni" : intrinsics, best?.Name);
        Assert.Equal(CpuFeatures.HasAvx512Bf16 ? "avx512-bf16" : null, DotKernels.ChooseBf16(assembled: true).Tile?.Name);
        Assert.NotEmpty(reason);
        Assert.Equal(CpuFeatures.HasAvx512Vnni, plainReason.Contains("ESPALIER_ASSEMBLED"));
    }

    [Fact]
    public void EveryPrecisionSaysWhatItGets()
    {
        Assert.Equal(new KernelChoice(KernelInfo.Name, KernelInfo.Reason), KernelInfo.For(Precision.Fp32));
        Assert.Equal(new KernelChoice(DotKernels.Int8.Tile?.Name, DotKernels.Int8.Reason), KernelInfo.For(Precision.Int8));
        Assert.Equal(new KernelChoice(DotKernels.Bf16.Tile?.Name, DotKernels.Bf16.Reason), KernelInfo.For(Precision.Bf16));
        bool off = Environment.GetEnvironmentVariable("ESPALIER_ASSEMBLED") == "0";
        Assert.Equal(CpuFeatures.HasAvx512Bf16 && !off, KernelInfo.For(Precision.Bf16).Name is not null);
    }
}
