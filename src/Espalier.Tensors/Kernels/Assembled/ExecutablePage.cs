using System.Runtime.InteropServices;

namespace Espalier.Tensors.Kernels;

/// <summary>Memory that holds machine code. It is writable while the code is copied and executable from then on, never both.
/// It lives as long as the process: function pointers into it carry no lifetime.</summary>
internal static unsafe partial class ExecutablePage
{
    /// <summary>A copy of <paramref name="code"/> that can be called; null where the system does not let a process make code,
    /// with the reason.</summary>
    public static byte* Create(ReadOnlySpan<byte> code, out string? refusal)
    {
        byte* page = null;
        refusal = RuntimeInformation.ProcessArchitecture != Architecture.X64 ? "this process is not x86-64"
            : OperatingSystem.IsLinux() ? Linux.Create(code, out page)
            : OperatingSystem.IsWindows() ? Windows.Create(code, out page)
            : "code is assembled on Linux and Windows only";
        return page;
    }

    private static partial class Linux
    {
        private const int Read = 1, Write = 2, Execute = 4, Private = 2, Anonymous = 0x20;

        public static string? Create(ReadOnlySpan<byte> code, out byte* page)
        {
            page = null;
            void* memory = Map(null, (nuint)code.Length, Read | Write, Private | Anonymous, -1, 0);
            if ((nint)memory == -1)
            {
                return $"mmap failed with error {Marshal.GetLastPInvokeError()}";
            }

            code.CopyTo(new Span<byte>(memory, code.Length));
            if (Protect(memory, (nuint)code.Length, Read | Execute) != 0)
            {
                int error = Marshal.GetLastPInvokeError();
                _ = Unmap(memory, (nuint)code.Length);
                return $"the system allows no assembled code: mprotect failed with error {error}";
            }

            page = (byte*)memory;
            return null;
        }

        [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
        private static partial void* Map(void* address, nuint length, int protection, int flags, int file, nint offset);

        [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
        private static partial int Protect(void* address, nuint length, int protection);

        [LibraryImport("libc", EntryPoint = "munmap")]
        private static partial int Unmap(void* address, nuint length);
    }

    private static partial class Windows
    {
        private const uint CommitReserve = 0x3000, Release = 0x8000, ReadWrite = 0x04, ExecuteRead = 0x20;

        public static string? Create(ReadOnlySpan<byte> code, out byte* page)
        {
            page = null;
            void* memory = Allocate(null, (nuint)code.Length, CommitReserve, ReadWrite);
            if (memory == null)
            {
                return $"VirtualAlloc failed with error {Marshal.GetLastPInvokeError()}";
            }

            code.CopyTo(new Span<byte>(memory, code.Length));
            if (Protect(memory, (nuint)code.Length, ExecuteRead, out _) == 0)
            {
                int error = Marshal.GetLastPInvokeError();
                _ = Free(memory, 0, Release);
                return $"the system allows no assembled code: VirtualProtect failed with error {error}";
            }

            _ = Flush(CurrentProcess(), memory, (nuint)code.Length);
            page = (byte*)memory;
            return null;
        }

        [LibraryImport("kernel32", EntryPoint = "VirtualAlloc", SetLastError = true)]
        private static partial void* Allocate(void* address, nuint size, uint kind, uint protection);

        [LibraryImport("kernel32", EntryPoint = "VirtualProtect", SetLastError = true)]
        private static partial int Protect(void* address, nuint size, uint protection, out uint before);

        [LibraryImport("kernel32", EntryPoint = "VirtualFree")]
        private static partial int Free(void* address, nuint size, uint kind);

        [LibraryImport("kernel32", EntryPoint = "GetCurrentProcess")]
        private static partial nint CurrentProcess();

        [LibraryImport("kernel32", EntryPoint = "FlushInstructionCache")]
        private static partial int Flush(nint process, void* address, nuint size);
    }
}
