using System.Runtime.InteropServices;

namespace Espalier.Imaging;

/// <summary>JPEG through libjpeg-turbo's TurboJPEG 2 functions, which version 3 still has.</summary>
internal static unsafe class JpegReader
{
    private const int ColorGray = 2, ColorCmyk = 3, ColorYcck = 4;      // enum TJCS
    private const int PixelRgb = 0, PixelGray = 6;                      // enum TJPF
    private const int AccurateDct = 4096, LimitScans = 32768;           // TJFLAG_*; the second stops progressive-scan bombs
    private const int ErrorWarning = 0;                                 // enum TJERR

    private static ReadOnlySpan<byte> StartOfScan => [0xFF, 0xDA];

    private static ReadOnlySpan<byte> EndOfImage => [0xFF, 0xD9];

    public static Image Decode(byte[] data, string name)
    {
        // The entropy-coded data of a scan has no unescaped FF, so the last scan is followed by an end mark or is cut off.
        if (data.AsSpan().LastIndexOf(EndOfImage) <= data.AsSpan().LastIndexOf(StartOfScan)) throw Truncated(name);
        var create = (delegate* unmanaged[Cdecl]<nint>)Function("tjInitDecompress", name);
        var destroy = (delegate* unmanaged[Cdecl]<nint, int>)Function("tjDestroy", name);
        var readHeader = (delegate* unmanaged[Cdecl]<nint, byte*, CULong, int*, int*, int*, int*, int>)
            Function("tjDecompressHeader3", name);
        var decompress = (delegate* unmanaged[Cdecl]<nint, byte*, CULong, byte*, int, int, int, int, int, int>)
            Function("tjDecompress2", name);

        nint codec = create();
        if (codec == 0) throw new EspalierException($"{name}: libjpeg-turbo could not start a decoder.");
        try
        {
            // Pinned for both calls; the length passed is the array's, so the library stays inside it.
            fixed (byte* source = data)
            {
                var length = new CULong((nuint)data.Length);
                int width = 0, height = 0, subsampling = 0, color = 0;
                if (readHeader(codec, source, length, &width, &height, &subsampling, &color) != 0) Check(codec, name);
                ImageFile.CheckSize(width, height, name);
                if (color is ColorCmyk or ColorYcck)
                    throw new EspalierException($"{name}: a CMYK JPEG cannot be read; convert it to RGB.");

                int channels = color == ColorGray ? 1 : 3;
                var image = new Image(width, height, channels);
                // The destination is height rows of width * channels bytes, as the size check and the constructor made it.
                fixed (byte* target = image.Pixels)
                {
                    int format = channels == 1 ? PixelGray : PixelRgb;
                    if (decompress(codec, source, length, target, width, width * channels, height, format,
                            AccurateDct | LimitScans) != 0)
                        Check(codec, name);
                }
                return image;
            }
        }
        finally
        {
            destroy(codec);
        }
    }

    /// <summary>Throws for an error; passes the decoder's warnings, as PIL does, except that the file ends too soon.</summary>
    private static void Check(nint codec, string name)
    {
        var errorCode = (delegate* unmanaged[Cdecl]<nint, int>)Function("tjGetErrorCode", name);
        var errorText = (delegate* unmanaged[Cdecl]<nint, byte*>)Function("tjGetErrorStr2", name);
        string text = Marshal.PtrToStringUTF8((nint)errorText(codec)) ?? "unknown error";
        bool truncated = text.Contains("Premature end of", StringComparison.OrdinalIgnoreCase)
            && text.Contains("file", StringComparison.OrdinalIgnoreCase);
        if (truncated) throw Truncated(name);
        if (errorCode(codec) != ErrorWarning) throw new EspalierException($"{name}: damaged JPEG file: {text}");
    }

    private static EspalierException Truncated(string name) => new($"{name}: the JPEG file is truncated; get a whole copy.");

    private static nint Function(string function, string file) => NativeCodec.TurboJpeg.Export(function, file);
}
