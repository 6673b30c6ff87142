using System.CommandLine;
using System.Runtime.Intrinsics;
using Espalier.Benchmarking;
using Espalier.Cli.Display;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier kernels`: which kernels this processor gets, and why.</summary>
internal static class KernelsVerb
{
    public static Command Create(CommandContext context)
    {
        var verb = new Verb("kernels", "Which compute kernels this processor gets, why, and how to choose others.",
            "espalier kernels", "espalier kernels --threads 1");
        verb.SetAction(_ => Run(context.Terminal));
        return verb;
    }

    private static int Run(Terminal terminal)
    {
        MachineInfo machine = MachineInfo.Collect();
        terminal.Line($"processor   {machine.Cpu}, {machine.Cores} cores, {Workers.Threads} threads in use");
        terminal.Line($"caches      {Caches()}");
        terminal.Line($"vectors     {Widths()}");
        foreach (Precision p in Enum.GetValues<Precision>())
        {
            KernelChoice choice = KernelInfo.For(p);
            string tile = p == Precision.Fp32 ? $", {KernelInfo.TileRows} rows by {KernelInfo.TileColumns} columns at once" : "";
            terminal.Line($"{Format.Name(p),-12}{choice.Name ?? "none"}{tile}: {choice.Reason}");
        }
        terminal.Line();
        terminal.Line("to choose others:");
        terminal.Line("  lower kernels in fp32   ESPALIER_KERNEL=avx512, avx2, advsimd or portable");
        terminal.Line("  no assembled kernels    ESPALIER_ASSEMBLED=0");
        terminal.Line("  the number of threads   --threads N, or ESPALIER_THREADS=N");
        terminal.Line("  no AVX-512 at all       DOTNET_EnableAVX512=0");
        terminal.Line("  no AVX2 either          DOTNET_EnableAVX2=0");
        terminal.Line("  no vectors at all       DOTNET_EnableHWIntrinsic=0");
        return ExitCodes.Done;
    }

    private static string Caches()
    {
        IReadOnlyList<CpuCache> caches = CpuCache.All();
        return caches.Count == 0 ? "not known on this system"
            : string.Join(", ", caches.Select(c => $"L{c.Level} {c.Kind.ToLowerInvariant()} {Format.Bytes(c.Bytes)}"));
    }

    private static string Widths()
    {
        (int Bits, bool Has)[] widths = [(128, Vector128.IsHardwareAccelerated), (256, Vector256.IsHardwareAccelerated),
            (512, Vector512.IsHardwareAccelerated)];
        string[] has = [.. widths.Where(w => w.Has).Select(w => $"{w.Bits}")];
        return has.Length == 0 ? "none" : $"{string.Join(", ", has)} bits";
    }
}
