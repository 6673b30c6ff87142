using System.Runtime.InteropServices;

namespace Espalier.Formats;

/// <summary>
/// The questions to the file system that .NET has no call for. On systems without an answer, nothing happens.
/// </summary>
internal static unsafe partial class FileSystem
{
    private const int AtCurrentFolder = -100;
    private const uint StatxType = 1, StatxLinks = 4;
    private const int StatxSize = 256, StatxModeOffset = 28, StatxLinksOffset = 16;
    private const int FileTypeMask = 0xF000, RegularFile = 0x8000, Folder = 0x4000;

    /// <summary>Whether the path is a device, pipe or socket: renaming over /dev/null would remove it.</summary>
    public static bool IsSpecialFile(string path)
    {
        if (!OperatingSystem.IsLinux()) return false;
        byte* stat = stackalloc byte[StatxSize];    // struct statx has this size on every architecture
        try
        {
            if (Statx(AtCurrentFolder, path, 0, StatxType, stat) != 0) return false;
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
        int type = *(ushort*)(stat + StatxModeOffset) & FileTypeMask;
        return type is not (RegularFile or Folder);
    }

    /// <summary>How many names a file has; 1 where the system does not say.</summary>
    public static long Names(string path)
    {
        if (!OperatingSystem.IsLinux()) return 1;
        byte* stat = stackalloc byte[StatxSize];
        try
        {
            return Statx(AtCurrentFolder, path, 0, StatxLinks, stat) == 0 ? *(uint*)(stat + StatxLinksOffset) : 1;
        }
        catch (EntryPointNotFoundException)
        {
            return 1;
        }
    }

    /// <summary>Gives a file the name of another one, which goes. Windows refuses that while anybody reads the old one, such as a
    /// virus scanner: it gets a second to end.</summary>
    public static void Replace(string path, string old)
    {
        for (int tries = OperatingSystem.IsWindows() ? 10 : 1; ; tries--)
        {
            try
            {
                File.Move(path, old, overwrite: true);
                return;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException && tries > 1 && File.Exists(old))
            {
                Thread.Sleep(100);
            }
        }
    }

    /// <summary>Makes a rename in the folder survive a power cut.</summary>
    public static void FlushFolder(string path)
    {
        if (OperatingSystem.IsWindows()) return;
        int handle = Open(path, 0);
        if (handle < 0) return;
        _ = Fsync(handle);    // some file systems cannot; the file itself is on the disk already
        _ = Close(handle);
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, byte* result);

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync")]
    private static partial int Fsync(int handle);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int handle);
}
