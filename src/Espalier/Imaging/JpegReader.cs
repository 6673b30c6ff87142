using System.Runtime.InteropServices;

namespace Espalier.Imaging;

/// <summary>
/// JPEG through the system's libjpeg-turbo (its TurboJPEG 2 functions, which version 3 still has), where there is one: the
/// bytes are those of <see cref="SkiaReader"/>, in less than half of the time.
/// </summary>
internal static unsafe class JpegReader
{
    private const int PixelRgb = 0, PixelGray = 6;      // enum TJPF
    private const int AccurateDct = 4096;               // TJFLAG_ACCURATEDCT

    private static readonly nint Library = Load();
    private static readonly delegate* unmanaged[Cdecl]<nint> Create =
        (delegate* unmanaged[Cdecl]<nint>)Function("tjInitDecompress");
    private static readonly delegate* unmanaged[Cdecl]<nint, int> Destroy =
        (delegate* unmanaged[Cdecl]<nint, int>)Function("tjDestroy");
    private static readonly delegate* unmanaged[Cdecl]<nint, byte*, CULong, byte*, int, int, int, int, int, int> Decompress =
        (delegate* unmanaged[Cdecl]<nint, byte*, CULong, byte*, int, int, int, int, int, int>)Function("tjDecompress2");

    /// <summary>True where the library was found and has what is needed.</summary>
    public static bool IsAvailable { get; } = Create != null && Destroy != null && Decompress != null;

    /// <summary>
    /// Fills the picture; false where the library is missing or has anything to say about the file, which is then for the
    /// other reader to judge, so that what is refused does not depend on the machine.
    /// </summary>
    /// <param name="image">Grey or RGB, of the size that the file's header says.</param>
    public static bool TryDecode(ReadOnlySpan<byte> data, Image image)
    {
        nint codec = IsAvailable ? Create() : 0;
        if (codec == 0) return false;
        // The length passed is the span's, so the library stays inside it; the target is Height rows of Width pixels.
        fixed (byte* source = data, target = image.Pixels)
        {
            int pitch = image.Width * image.Channels, format = image.Channels == 1 ? PixelGray : PixelRgb;
            int code = Decompress(codec, source, new CULong((nuint)data.Length), target, image.Width, pitch, image.Height,
                format, AccurateDct);
            _ = Destroy(codec);
            return code == 0;
        }
    }

    private static nint Load()
    {
        foreach (string name in (string[])["libturbojpeg.so.0", "libturbojpeg.0.dylib", "libturbojpeg.dylib", "turbojpeg.dll"])
            if (NativeLibrary.TryLoad(name, out nint library)) return library;
        return 0;
    }

    private static nint Function(string name) =>
        Library != 0 && NativeLibrary.TryGetExport(Library, name, out nint address) ? address : 0;
}
