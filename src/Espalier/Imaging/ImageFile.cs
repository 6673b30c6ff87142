using Espalier.Formats;

namespace Espalier.Imaging;

/// <summary>Reads PNG, JPEG, BMP, GIF and WebP files.</summary>
public static class ImageFile
{
    /// <summary>Longest file that is read at all, in bytes.</summary>
    public const long MaxFileBytes = 512L * 1024 * 1024;

    private const int HeaderBytes = 1 << 16;

    /// <summary>The largest number of pixels that a file may have: 512 megapixels.</summary>
    public const long MaxSourcePixels = 512L * 1024 * 1024;

    /// <summary>
    /// The picture in a file; the kind is told from the content, not from the name. Grey files give 1 channel, all others
    /// 3, with Pillow's pixels: alpha is dropped and not blended. Of moving pictures the first is taken. A JPEG or PNG of
    /// more than <see cref="Image.MaxPixels"/> comes at a half, a quarter or an eighth of its sides.
    /// </summary>
    /// <param name="upright">Turns the picture as its EXIF orientation says; else it comes as it is stored.</param>
    /// <exception cref="EspalierException">Missing, unreadable, damaged or too large; the message names the file.</exception>
    public static Image Read(string path, bool upright = true)
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
        return Decode(data, path, upright);
    }

    /// <summary>Whether <see cref="Read"/> gives 3 channels, from a PNG's or JPEG's header alone; others have colours.</summary>
    /// <exception cref="EspalierException">It cannot be read.</exception>
    internal static bool HasColor(string path)
    {
        byte[] start = new byte[HeaderBytes];
        int length;
        try
        {
            if (FileSystem.IsSpecialFile(path)) throw new IOException("it is a device or a pipe, not a regular file");
            using var file = File.OpenRead(path);
            length = file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{path}: cannot read the image: {e.Message}", e);
        }
        ReadOnlySpan<byte> data = start.AsSpan(0, length);
        return ImageSignature.Of(data, path) switch
        {
            ImageKind.Png => !PngChunks.IsGray(data),
            // A header behind a large preview is not seen; the picture is then read whole.
            ImageKind.Jpeg => JpegLayout.Read(data).Components is var n && n == 0 ? Read(path).Channels == 3 : n > 1,
            _ => true,
        };
    }

    /// <summary>The picture in the bytes of a PNG, JPEG, BMP, GIF or WebP file.</summary>
    /// <param name="data">The whole file.</param>
    /// <param name="name">What errors call it.</param>
    /// <param name="upright">Turns the picture as its EXIF orientation says; else it comes as it is stored.</param>
    /// <exception cref="EspalierException">Another kind of file, damaged or too large.</exception>
    public static Image Decode(byte[] data, string name, bool upright = true)
    {
        ArgumentNullException.ThrowIfNull(data);
        return Decode(data, name, upright, Image.MaxPixels);
    }

    /// <param name="maxPixels">Of the result; for tests, which should not need large files.</param>
    /// <param name="fast">Lets the system's library read a JPEG; for tests, which compare it with the other way.</param>
    /// <param name="maxSource">Of the file; larger ones are refused before memory is taken.</param>
    internal static Image Decode(ReadOnlySpan<byte> data, string name, bool upright, long maxPixels, bool fast = true,
        long maxSource = MaxSourcePixels)
    {
        ImageKind kind = ImageSignature.Of(data, name);
        int origin = 1;
        if (kind == ImageKind.Jpeg) JpegLayout.Read(data).Check(data.Length, name);
        if (kind == ImageKind.Png) data = PngChunks.Essential(data, name, out origin);
        if (kind == ImageKind.Gif) data = GifBlocks.WithoutTransparency(data);
        Image image = SkiaReader.Decode(data, kind, name, maxPixels, maxSource, fast, ref origin);
        return upright ? Orientation.Upright(image, origin) : image;
    }
}
