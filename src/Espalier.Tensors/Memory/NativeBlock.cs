using System.Runtime.InteropServices;

namespace Espalier.Tensors.Memory;

/// <summary>
/// Native memory for floats. Large blocks lie on the system's large pages where it gives these on demand (Linux): one fault fills
/// 2 MiB in place of 4 KiB, and weights need few entries of the processor's page table cache. The system's own setting is kept:
/// "never" stays never.
/// </summary>
internal static unsafe partial class NativeBlock
{
    private const nuint CacheLine = 64, LargePage = 2 << 20;

    /// <summary>Linux: see madvise(2).</summary>
    private const int AdviseHugePage = 14;

    /// <summary>At least so many bytes, aligned to a cache line, with arbitrary contents.
    /// <see cref="NativeMemory.AlignedFree"/> frees them.</summary>
    /// <exception cref="OutOfMemoryException">The system has no such block.</exception>
    public static void* Allocate(nuint bytes)
    {
        if (bytes < LargePage || !OperatingSystem.IsLinux()) return NativeMemory.AlignedAlloc(bytes, CacheLine);
        void* block = NativeMemory.AlignedAlloc(bytes, LargePage);
        // Whole pages only, so that no more memory is taken than was asked for. Where it fails the pages are small.
        _ = Advise(block, bytes / LargePage * LargePage, AdviseHugePage);
        return block;
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* address, nuint length, int advice);
}
