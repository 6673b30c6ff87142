using System.Runtime.Intrinsics.X86;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Simd;

public sealed class HardwareTests
{
    [Fact]
    public void TheSwitchesOfTheRuntimeChooseTheWidth()
    {
        bool none = IsOff("DOTNET_EnableHWIntrinsic"), no256 = none || IsOff("DOTNET_EnableAVX2");
        bool no512 = no256 || IsOff("DOTNET_EnableAVX512");
        if (no512) Assert.False(Hardware.Has512);
        if (no256) Assert.False(Hardware.Has256);
        Assert.Equal(Fma.IsSupported, Hardware.Has256);
    }

    private static bool IsOff(string name) => Environment.GetEnvironmentVariable(name) == "0";
}
