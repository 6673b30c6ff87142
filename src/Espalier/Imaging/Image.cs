namespace Espalier.Imaging;

/// <summary>
/// An 8-bit picture: rows from the top, pixels from the left, channels together (HWC). One channel is grey, three are RGB.
/// </summary>
/// <param name="Pixels">[Height, Width, Channels], exactly that many bytes.</param>
public sealed record Image(int Width, int Height, int Channels, byte[] Pixels)
{
    /// <summary>The largest number of pixels that any reader accepts: 64 megapixels.</summary>
    public const long MaxPixels = 64L * 1024 * 1024;

    /// <summary>[Height, Width, Channels].</summary>
    public byte[] Pixels { get; init; } = Checked(Width, Height, Channels, Pixels);

    /// <summary>A black picture.</summary>
    public Image(int width, int height, int channels) : this(width, height, channels, new byte[Size(width, height, channels)]) { }

    /// <summary>Bytes of such a picture; an <see cref="ArgumentException"/> where it cannot be one.</summary>
    internal static int Size(int width, int height, int channels)
    {
        if (width < 1 || height < 1 || (long)width * height > MaxPixels)
            throw new ArgumentException($"a picture of {width} x {height} pixels: it must have 1 to {MaxPixels} pixels");
        if (channels is not (1 or 3)) throw new ArgumentException($"a picture has 1 or 3 channels, not {channels}");
        return width * height * channels;
    }

    private static byte[] Checked(int width, int height, int channels, byte[] pixels)
    {
        ArgumentNullException.ThrowIfNull(pixels);
        int size = Size(width, height, channels);
        if (pixels.Length != size)
            throw new ArgumentException($"a {width} x {height} x {channels} picture has {size} bytes, not {pixels.Length}");
        return pixels;
    }
}
