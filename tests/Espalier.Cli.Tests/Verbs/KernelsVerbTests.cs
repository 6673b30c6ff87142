using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Cli.Tests.Verbs;

public sealed class KernelsVerbTests
{
    [Fact]
    public void The_kernel_is_named_with_its_reason_its_tile_and_how_to_choose()
    {
        string output = Tool.Run("kernels").MustSucceed().Out;
        foreach (Precision p in Enum.GetValues<Precision>())
        {
            string line = Assert.Single(output.Split('\n'), l => l.StartsWith($"{p} ", StringComparison.OrdinalIgnoreCase));
            Assert.Contains($" {KernelInfo.For(p).Name ?? "none"}", line);
            Assert.Contains($": {KernelInfo.For(p).Reason}", line);
        }
        Assert.Contains($"{KernelInfo.TileRows} rows by {KernelInfo.TileColumns} columns", output);
        foreach (string variable in new[] { "ESPALIER_KERNEL", "ESPALIER_THREADS", "DOTNET_EnableAVX512", "DOTNET_EnableAVX2" })
            Assert.Contains(variable, output);
    }

    [Fact]
    public void Threads_are_those_asked_for() =>
        Assert.Contains("1 threads", Tool.Run("kernels", "--threads", "1").MustSucceed().Out);
}
