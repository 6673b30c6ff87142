namespace Espalier.Imaging;

/// <summary>Whole-picture operations, byte for byte as PIL does them. Each writes a picture given to it, or makes one.</summary>
public static class ImageOps
{
    /// <summary>The left-right mirror image.</summary>
    public static void FlipHorizontal(Image source, Image target)
    {
        RequireSize(target, source.Width, source.Height, source.Channels);
        int channels = source.Channels, stride = source.Width * channels;
        for (int y = 0; y < source.Height; y++)
        {
            var from = source.Pixels.AsSpan(y * stride, stride);
            var to = target.Pixels.AsSpan(y * stride, stride);
            for (int x = 0; x < stride; x += channels) from.Slice(x, channels).CopyTo(to[(stride - channels - x)..]);
        }
    }

    /// <summary>The window of <paramref name="target"/>'s size at (left, top); what lies outside the source is black.</summary>
    public static void Crop(Image source, int left, int top, Image target)
    {
        RequireSize(target, target.Width, target.Height, source.Channels);
        int channels = source.Channels;
        int firstX = Math.Max(left, 0), endX = Math.Min(left + target.Width, source.Width);
        for (int y = 0; y < target.Height; y++)
        {
            var to = target.Pixels.AsSpan(y * target.Width * channels, target.Width * channels);
            int from = top + y;
            to.Clear();
            if (from < 0 || from >= source.Height || endX <= firstX) continue;
            source.Pixels.AsSpan((from * source.Width + firstX) * channels, (endX - firstX) * channels)
                .CopyTo(to[((firstX - left) * channels)..]);
        }
    }

    /// <summary>
    /// Where torchvision puts the centre crop along one axis: half the rest, a half rounded to even. Negative where the picture
    /// has to be padded first: the smaller half of the border is then on the left and the top.
    /// </summary>
    public static long CenterOffset(long length, int crop) =>
        length < crop ? -((crop - length) / 2) : (long)Math.Round((length - crop) / 2.0, MidpointRounding.ToEven);

    /// <summary>The size after scaling the shorter side to <paramref name="size"/>, the longer one truncated.</summary>
    public static (long Width, long Height) ShorterSideSize(int width, int height, int size) =>
        width <= height ? (size, (long)size * height / width) : ((long)size * width / height, size);

    /// <summary>Grey by PIL's formula for mode L: (19595 R + 38470 G + 7471 B + 32768) / 65536 (ITU-R 601).</summary>
    public static void ToGray(Image source, Image target)
    {
        RequireSize(target, source.Width, source.Height, 1);
        if (source.Channels == 1)
        {
            source.Pixels.CopyTo(target.Pixels, 0);
            return;
        }
        byte[] from = source.Pixels, to = target.Pixels;
        for (int i = 0, j = 0; i < to.Length; i++, j += 3)
            to[i] = (byte)((from[j] * 19595 + from[j + 1] * 38470 + from[j + 2] * 7471 + 0x8000) >> 16);
    }

    /// <summary>A grey copy; the picture itself where it is grey already.</summary>
    public static Image ToGray(Image source)
    {
        if (source.Channels == 1) return source;
        var target = new Image(source.Width, source.Height, 1);
        ToGray(source, target);
        return target;
    }

    /// <summary>RGB by repeating the grey channel; the picture itself where it is RGB already.</summary>
    public static Image ToRgb(Image source)
    {
        if (source.Channels == 3) return source;
        var target = new Image(source.Width, source.Height, 3);
        for (int i = 0; i < source.Pixels.Length; i++) target.Pixels.AsSpan(3 * i, 3).Fill(source.Pixels[i]);
        return target;
    }

    private static void RequireSize(Image target, int width, int height, int channels)
    {
        if (target.Width != width || target.Height != height || target.Channels != channels)
            throw new ArgumentException($"the target is {target.Width} x {target.Height} x {target.Channels}, "
                + $"not {width} x {height} x {channels}");
    }
}
