using System.Runtime.InteropServices;
using Espalier.Benchmarking;
using Espalier.Tensors.Kernels;

namespace Espalier.Tests.Benchmarking;

public sealed class MachineTests
{
    [Fact]
    public void The_machine_is_named()
    {
        MachineInfo m = MachineInfo.Collect();
        Assert.Equal((KernelInfo.Name, Environment.ProcessorCount), (m.Kernel, m.Cores));
        Assert.NotEqual("", m.Cpu);
        Assert.StartsWith(".NET ", m.Framework);
        Assert.Matches(@"^\d+\.\d+\.\d+$", m.Version);
    }

    [Fact]
    public unsafe void The_peak_of_memory_rises_with_what_is_touched_and_falls_when_reset()
    {
        if (!OperatingSystem.IsLinux() || !PeakMemory.Reset()) return;
        const int size = 256 << 20;
        long before = PeakMemory.Bytes;
        byte* block = (byte*)NativeMemory.Alloc(size);
        for (int i = 0; i < size; i += 4096) block[i] = 1;
        long touched = PeakMemory.Bytes;
        NativeMemory.Free(block);
        Assert.InRange(touched, before + size / 2, long.MaxValue);
        Assert.Equal(touched, Math.Max(touched, PeakMemory.Bytes));
        PeakMemory.Reset();
        Assert.InRange(PeakMemory.Bytes, 1, touched - size / 2);
    }

    [Fact]
    public void Caches_are_listed_from_the_core_outwards()
    {
        IReadOnlyList<CpuCache> caches = CpuCache.All();
        Assert.Equal(caches.Select(c => c.Level).Order(), caches.Select(c => c.Level));
        Assert.All(caches, c => Assert.InRange(c.Bytes, 1024, 1L << 34));
    }
}
