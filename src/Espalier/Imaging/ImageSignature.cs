using System.Text;

namespace Espalier.Imaging;

/// <summary>Kinds of image files that are read.</summary>
internal enum ImageKind
{
    Png,
    Jpeg,
    Gif,
    Bmp,
    WebP,
}

/// <summary>Tells what a file is from its first bytes, and not from its name.</summary>
internal static class ImageSignature
{
    private static readonly string[] Readable = [".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp"];

    // Pictures that people have, which are to be converted and not to be passed over in silence.
    private static readonly string[] Unreadable =
        [".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"];

    /// <summary>True where a file of this name should be a picture that is read.</summary>
    public static bool IsReadableName(string path) => HasExtension(path, Readable);

    /// <summary>True where a file of this name should be a picture, of a kind that is read or not.</summary>
    public static bool IsPictureName(string path) => HasExtension(path, Readable) || HasExtension(path, Unreadable);

    /// <summary>The kind; an <see cref="EspalierException"/> that says what the file is where it is another.</summary>
    public static ImageKind Of(ReadOnlySpan<byte> data, string name)
    {
        if (data.StartsWith((ReadOnlySpan<byte>)[0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A]))
            return ImageKind.Png;
        if (data.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xD8, 0xFF])) return ImageKind.Jpeg;
        if (data.StartsWith("GIF87a"u8) || data.StartsWith("GIF89a"u8)) return ImageKind.Gif;
        if (data.StartsWith("BM"u8) && data.Length > 26) return ImageKind.Bmp;
        if (data.StartsWith("RIFF"u8) && At(data, 8, "WEBP"u8)) return ImageKind.WebP;
        throw new EspalierException($"{name}: {Other(data)}");
    }

    private static string Other(ReadOnlySpan<byte> data)
    {
        if (data.IsEmpty) return "the image file is empty; get a whole copy.";
        if (data.StartsWith("II*\0"u8) || data.StartsWith("MM\0*"u8)) return Convert("TIFF");
        if (At(data, 4, "ftyphei"u8) || At(data, 4, "ftypmif1"u8) || At(data, 4, "ftypmsf1"u8)) return Convert("HEIC");
        if (At(data, 4, "ftypavif"u8)) return Convert("AVIF");
        if (At(data, 4, "jP  "u8)) return Convert("JPEG 2000");
        if (At(data, 4, "JXL "u8) || data.StartsWith((ReadOnlySpan<byte>)[0xFF, 0x0A])) return Convert("JPEG XL");
        if (data.StartsWith((ReadOnlySpan<byte>)[0x00, 0x05, 0x16, 0x07]))
            return "not an image but what macOS keeps beside one; remove it.";
        string text = Encoding.ASCII.GetString(data[..Math.Min(data.Length, 256)]).TrimStart().ToLowerInvariant();
        if (text.StartsWith("version https://git-lfs", StringComparison.Ordinal))
            return "only a pointer to the image, which Git LFS keeps elsewhere; fetch it with 'git lfs pull'.";
        if (text.StartsWith("<!doctype html", StringComparison.Ordinal) || text.StartsWith("<html", StringComparison.Ordinal))
            return "a web page and not an image; download the image itself.";
        return "not a PNG, JPEG, BMP, GIF or WebP file; convert it to PNG.";
    }

    private static string Convert(string kind) => $"{kind} images are not read; convert them to PNG.";

    private static bool At(ReadOnlySpan<byte> data, int offset, ReadOnlySpan<byte> text) =>
        data.Length >= offset && data[offset..].StartsWith(text);

    private static bool HasExtension(string path, string[] extensions) =>
        extensions.Contains(Path.GetExtension(path), StringComparer.OrdinalIgnoreCase);
}
