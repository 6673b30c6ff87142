using System.Runtime.InteropServices;

namespace Espalier.Cli.Tests;

/// <summary>Skipped where the system has no libpng, which reading (not writing) PNG files needs.</summary>
internal sealed class LibPngFactAttribute : FactAttribute
{
    public LibPngFactAttribute()
    {
        if (!NativeLibrary.TryLoad("libpng16.so.16", out _)) Skip = "libpng is not installed";
    }
}
