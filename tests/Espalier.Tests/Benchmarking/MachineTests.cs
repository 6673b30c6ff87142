using System.Runtime.InteropServices;
using Espalier.Benchmarking;
using Espalier.Tensors.Kernels;
using Xunit.Abstractions;

namespace Espalier.Tests.Benchmarking;

/// <summary>Of the whole process, whose memory no other test may take or give back meanwhile.</summary>
[Collection("alone")]
public sealed class MachineTests(ITestOutputHelper output)
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
        if (!PeakMemory.Reset())
        {
            output.WriteLine("not run: the mark cannot be reset here, where there is no /proc/self/clear_refs to be written");
            return;
        }
        const int size = 256 << 20;
        long before = PeakMemory.Bytes;
        byte* block = (byte*)NativeMemory.Alloc(size);
        for (int i = 0; i < size; i += 4096) block[i] = 1;
        long touched = PeakMemory.Bytes;
        NativeMemory.Free(block);
        Assert.InRange(touched, before + size / 2, long.MaxValue);
        Assert.InRange(PeakMemory.Bytes, touched - size / 8, touched);
        Assert.True(PeakMemory.Reset());
        Assert.InRange(PeakMemory.Bytes, 1, touched - size / 2);
    }

    [Fact]
    public void Caches_are_listed_from_the_core_outwards()
    {
        IReadOnlyList<CpuCache> caches = CpuCache.All();
        // Linux says there how large the nearest one is, where it says anything.
        Assert.Equal(File.Exists("/sys/devices/system/cpu/cpu0/cache/index0/size"), caches.Count > 0);
        Assert.Equal(caches.Select(c => c.Level).Order(), caches.Select(c => c.Level));
        Assert.All(caches, c => Assert.InRange(c.Bytes, 1024, 1L << 34));
    }
}
