using Espalier.Formats;

namespace Espalier.Imaging;

/// <summary>Reads PNG and JPEG files through the system's libpng and libjpeg-turbo.</summary>
public static class ImageFile
{
    /// <summary>Longest file that is read at all, in bytes.</summary>
    public const long MaxFileBytes = 512L * 1024 * 1024;

    private static ReadOnlySpan<byte> PngSignature => [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>True where the name ends in .png, .jpg or .jpeg, in any case.</summary>
    public static bool HasImageExtension(string path) =>
        Path.GetExtension(path).ToLowerInvariant() is ".png" or ".jpg" or ".jpeg";

    /// <summary>
    /// The picture in a file; the format is told from the content, not from the name. Grey files give 1 channel, all others
    /// 3; an alpha channel is dropped and an EXIF rotation is not applied, both as PIL's <c>convert('RGB')</c> does.
    /// </summary>
    /// <exception cref="EspalierException">Missing, unreadable, damaged or too large; the message names the file.</exception>
    public static Image Read(string path)
    {
        byte[] data;
        try
        {
            // Opening a pipe would wait for a writer that may never come.
            if (FileSystem.IsSpecialFile(path)) throw new IOException("it is a device or a pipe, not a regular file");
            using var file = File.OpenRead(path);
            if (file.Length > MaxFileBytes)
                throw new EspalierException($"{path}: an image file of {file.Length} bytes is too large (limit {MaxFileBytes}).");
            data = new byte[file.Length];
            file.ReadExactly(data);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{path}: cannot read the image: {e.Message}", e);
        }
        return Decode(data, path);
    }

    /// <summary>The picture in the bytes of a PNG or JPEG file.</summary>
    /// <param name="data">The whole file.</param>
    /// <param name="name">What errors call it.</param>
    /// <exception cref="EspalierException">Neither PNG nor JPEG, damaged, too large, or the library is missing.</exception>
    public static Image Decode(byte[] data, string name)
    {
        ArgumentNullException.ThrowIfNull(data);
        if (data.AsSpan().StartsWith(PngSignature)) return PngReader.Decode(data, name);
        if (data.Length >= 3 && data[0] == 0xFF && data[1] == 0xD8 && data[2] == 0xFF) return JpegReader.Decode(data, name);
        throw new EspalierException(data.Length == 0
            ? $"{name}: the image file is empty."
            : $"{name}: neither a PNG nor a JPEG file; convert it to one of them.");
    }

    internal static void CheckSize(long width, long height, string name)
    {
        if (width < 1 || height < 1)
            throw new EspalierException($"{name}: damaged image: its header says {width} x {height} pixels.");
        if (width > Image.MaxPixels || height > Image.MaxPixels || width * height > Image.MaxPixels)
            throw new EspalierException(
                $"{name}: {width} x {height} pixels is too large (limit {Image.MaxPixels >> 20} megapixels); scale it down.");
    }
}
