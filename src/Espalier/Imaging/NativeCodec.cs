using System.Runtime.InteropServices;

namespace Espalier.Imaging;

/// <summary>Finds an image library of the system once, and says which package to install where there is none.</summary>
internal sealed class NativeCodec(string title, string package, string[] names)
{
    private readonly Lazy<nint> handle = new(() =>
    {
        foreach (string name in names)
            if (NativeLibrary.TryLoad(name, out nint library)) return library;
        return 0;
    });

    public static NativeCodec TurboJpeg { get; } = new("libjpeg-turbo", "libturbojpeg0",
        ["libturbojpeg.so.0", "libturbojpeg.0.dylib", "libturbojpeg.dylib", "turbojpeg.dll"]);

    public static NativeCodec Png { get; } = new("libpng", "libpng16-16",
        ["libpng16.so.16", "libpng16.16.dylib", "libpng16.dylib", "libpng16.dll"]);

    /// <summary>True where the library can be loaded on this machine.</summary>
    public bool IsAvailable => handle.Value != 0;

    /// <summary>The address of a function; an error that names the Debian package where the library is missing.</summary>
    /// <param name="function">The C name.</param>
    /// <param name="file">The image that was to be read, for the error.</param>
    public nint Export(string function, string file)
    {
        if (!IsAvailable)
            throw new EspalierException($"{file}: {title} is not installed; install it (Debian: apt install {package}).");
        if (NativeLibrary.TryGetExport(handle.Value, function, out nint address)) return address;
        throw new EspalierException($"{file}: {title} has no {function}; install a newer one (Debian: apt install {package}).");
    }
}
