using System.Reflection;
using System.Runtime.InteropServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Benchmarking;

/// <summary>What measurements depend on beyond the work itself.</summary>
/// <param name="Cpu">The processor's name.</param>
/// <param name="Cores">Logical processors that the process may use.</param>
/// <param name="Framework">Such as ".NET 10.0.1".</param>
/// <param name="Kernel">As <see cref="KernelInfo.Name"/>.</param>
/// <param name="Version">Of Espalier.</param>
/// <param name="Commit">That it was built from; null where that is not known.</param>
public sealed record MachineInfo(
    string Cpu, int Cores, string Os, string Framework, string Kernel, string Version, string? Commit)
{
    private const int CommitLetters = 12;

    public static MachineInfo Collect()
    {
        // The SDK writes "version+commit" where it finds a repository.
        string[] version = (typeof(MachineInfo).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()
            ?.InformationalVersion ?? "").Split('+', 2);
        return new MachineInfo(CpuName(), Environment.ProcessorCount,
            $"{RuntimeInformation.OSDescription} {RuntimeInformation.ProcessArchitecture}",
            RuntimeInformation.FrameworkDescription, KernelInfo.Name, version[0],
            version.Length > 1 ? version[1][..Math.Min(CommitLetters, version[1].Length)] : null);
    }

    private static string CpuName()
    {
        string? name = OperatingSystem.IsLinux() ? LinuxName() : Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER");
        return string.IsNullOrWhiteSpace(name) ? "unknown processor" : name.Trim();
    }

    /// <summary>Null where the file is missing or has no such line, as on Arm.</summary>
    private static string? LinuxName()
    {
        const string file = "/proc/cpuinfo";
        if (!File.Exists(file)) return null;
        string? line = File.ReadLines(file).FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal));
        return line?[(line.IndexOf(':', StringComparison.Ordinal) + 1)..];
    }
}
