using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Assembled;

public sealed class CpuFeaturesTests
{
    [Fact]
    public void AgreeWithWhatTheSystemReports()
    {
        if (!Hardware.Has512)
        {
            Assert.False(CpuFeatures.HasAvx512Vnni || CpuFeatures.HasAvx512Bf16);
            return;
        }

        if (OperatingSystem.IsLinux())
        {
            IEnumerable<string> lines = File.ReadLines("/proc/cpuinfo");
            string[] flags = lines.First(line => line.StartsWith("flags", StringComparison.Ordinal)).Split(' ');
            Assert.Equal(flags.Contains("avx512_vnni"), CpuFeatures.HasAvx512Vnni);
            Assert.Equal(flags.Contains("avx512_bf16"), CpuFeatures.HasAvx512Bf16);
        }
    }
}
