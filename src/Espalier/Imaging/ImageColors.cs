namespace Espalier.Imaging;

/// <summary>Changes of colours, byte for byte as PIL's ImageOps and ImageEnhance make them. Each writes a picture of the source's
/// size that is given to it; the two may be the same but for <see cref="Sharpness"/>.</summary>
public static class ImageColors
{
    /// <summary>Each channel stretched so that its darkest sample is 0 and its brightest 255.</summary>
    public static void AutoContrast(Image source, Image target) => ByChannel(source, target, histogram =>
    {
        int low = Array.FindIndex(histogram, n => n > 0), high = Array.FindLastIndex(histogram, n => n > 0);
        if (high <= low) return Table(x => x);
        double scale = 255.0 / (high - low), offset = -low * scale;
        return Table(x => (int)(x * scale + offset));
    });

    /// <summary>Each channel so that all brightnesses are about as frequent.</summary>
    public static void Equalize(Image source, Image target) => ByChannel(source, target, histogram =>
    {
        int[] there = [.. histogram.Where(n => n > 0)];
        int step = there.Length <= 1 ? 0 : (there.Sum() - there[^1]) / 255;
        if (step == 0) return Table(x => x);
        int n = step / 2;
        return Table(x =>
        {
            int y = n / step;
            n += histogram[x];
            return y;
        });
    });

    /// <summary>Every sample taken from 255.</summary>
    public static void Invert(Image source, Image target) => Solarize(source, target, 0);

    /// <summary>The upper <paramref name="bits"/> bits of every sample, 0 to 8.</summary>
    public static void Posterize(Image source, Image target, int bits)
    {
        int mask = 0xFF & ~((1 << (8 - bits)) - 1);
        Map(source, target, Table(x => x & mask));
    }

    /// <summary>Samples from <paramref name="threshold"/> on taken from 255.</summary>
    public static void Solarize(Image source, Image target, int threshold) =>
        Map(source, target, Table(x => x < threshold ? x : 255 - x));

    /// <summary>Samples below 128 made brighter.</summary>
    public static void AddBelowMiddle(Image source, Image target, int addend) =>
        Map(source, target, Table(x => x < 128 ? x + addend : x));

    /// <summary>Between black (0) and the picture (1), or beyond it.</summary>
    public static void Brightness(Image source, Image target, float factor) => Map(source, target, Table(x => Blend(0, x, factor)));

    /// <summary>Between the picture's mean grey (0) and the picture (1), or beyond it.</summary>
    public static void Contrast(Image source, Image target, float factor)
    {
        Image gray = ImageOps.ToGray(source);
        int mean = (int)(gray.Pixels.Average(x => (double)x) + 0.5);
        Map(source, target, Table(x => Blend(mean, x, factor)));
    }

    /// <summary>Between shades of grey (0) and the picture's colours (1), or beyond them.</summary>
    public static void Saturation(Image source, Image target, float factor)
    {
        Image gray = ImageOps.ToGray(source);
        byte[] from = source.Pixels, to = target.Pixels;
        for (int i = 0, channels = source.Channels; i < from.Length; i++) to[i] = Blend(gray.Pixels[i / channels], from[i], factor);
    }

    /// <summary>Between a smoothed picture (0) and the picture (1), or beyond it. The outermost pixels stay as they are.</summary>
    public static void Sharpness(Image source, Image target, float factor)
    {
        byte[] from = source.Pixels, to = target.Pixels;
        from.CopyTo(to, 0);
        int channels = source.Channels, stride = source.Width * channels;
        for (int y = 1; y < source.Height - 1; y++)
        {
            for (int i = y * stride + channels; i < (y + 1) * stride - channels; i++)
            {
                int sum = 4 * from[i];
                for (int row = -stride; row <= stride; row += stride) sum += from[i + row - channels] + from[i + row] + from[i + row + channels];
                to[i] = Blend((int)(sum / 13f + 0.5f), from[i], factor);
            }
        }
    }

    /// <summary>a + factor (b - a), cut off to whole numbers as PIL does it.</summary>
    private static byte Blend(int a, int b, float factor) => (byte)Math.Clamp(a + factor * (b - a), 0f, 255f);

    private static byte[] Table(Func<int, int> map)
    {
        byte[] table = new byte[256];
        for (int x = 0; x < 256; x++) table[x] = (byte)Math.Clamp(map(x), 0, 255);
        return table;
    }

    private static void Map(Image source, Image target, byte[] table)
    {
        for (int i = 0; i < source.Pixels.Length; i++) target.Pixels[i] = table[source.Pixels[i]];
    }

    private static void ByChannel(Image source, Image target, Func<int[], byte[]> tableOf)
    {
        byte[] from = source.Pixels, to = target.Pixels;
        for (int channel = 0, channels = source.Channels; channel < channels; channel++)
        {
            int[] histogram = new int[256];
            for (int i = channel; i < from.Length; i += channels) histogram[from[i]]++;
            byte[] table = tableOf(histogram);
            for (int i = channel; i < from.Length; i += channels) to[i] = table[from[i]];
        }
    }
}
