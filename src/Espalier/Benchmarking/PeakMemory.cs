using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Espalier.Tensors.Memory;

namespace Espalier.Benchmarking;

/// <summary>The most physical memory that the process had at once: its resident set's high-water mark.</summary>
public static class PeakMemory
{
    /// <summary>Bytes, since the process began or since <see cref="Reset"/> succeeded.</summary>
    public static long Bytes
    {
        get
        {
            if (!OperatingSystem.IsLinux()) return ProcessPeak();
            string? line = File.ReadLines("/proc/self/status")
                .FirstOrDefault(l => l.StartsWith("VmHWM:", StringComparison.Ordinal));
            return line is null ? ProcessPeak() : Kilobytes(line) * 1024;
        }
    }

    /// <summary>Starts again from what is in memory now, after everything that was freed has gone back to the system.</summary>
    /// <returns>False where the system has no such thing: all but Linux. The mark then only rises.</returns>
    public static bool Reset()
    {
        TensorPool.Trim();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        if (!OperatingSystem.IsLinux()) return false;
        TrimNative();
        try
        {
            File.WriteAllText("/proc/self/clear_refs", "5");
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>The C library keeps freed blocks, hundreds of megabytes after a large model was closed.</summary>
    private static void TrimNative()
    {
        if (NativeLibrary.TryLoad("libc.so.6", out nint library) && NativeLibrary.TryGetExport(library, "malloc_trim", out nint trim))
            unsafe
            {
                ((delegate* unmanaged<nuint, int>)trim)(0);
            }
    }

    private static long ProcessPeak()
    {
        using Process self = Process.GetCurrentProcess();
        return self.PeakWorkingSet64;
    }

    // "VmHWM:    123456 kB"
    private static long Kilobytes(string line) => long.Parse(line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1],
        CultureInfo.InvariantCulture);
}
