using System.Buffers;
using System.Collections.Concurrent;

namespace Espalier.Imaging;

/// <summary>Interpolation of <see cref="Resampler"/>; both widen with the scale, so that shrinking does not alias.</summary>
public enum Interpolation
{
    /// <summary>Triangle of half-width 1.</summary>
    Bilinear,

    /// <summary>Cubic convolution with a = -0.5 (Keys 1981), half-width 2.</summary>
    Bicubic,
}

/// <summary>
/// Resizes 8-bit pictures to the same bytes as PIL: first along rows, then along columns, each with 22-bit fixed-point
/// weights, rounding to 8 bits in between.
/// </summary>
public static class Resampler
{
    private const int PrecisionBits = 32 - 8 - 2;
    private const int MaxCached = 256;

    private static readonly ConcurrentDictionary<(int, int, Interpolation), Weights> Cache = new();

    /// <summary>The part of a picture from (left, top), scaled to a new size; as PIL's crop followed by resize.</summary>
    /// <param name="source">[H, W, C].</param>
    /// <param name="left">0 .. W - <paramref name="boxWidth"/>.</param>
    /// <param name="target">[height, width, C].</param>
    public static void Resize(Image source, int left, int top, int boxWidth, int boxHeight, Image target, Interpolation kind)
    {
        if (left < 0 || top < 0 || boxWidth < 1 || boxHeight < 1
            || left > source.Width - boxWidth || top > source.Height - boxHeight)
            throw new ArgumentException($"the box {boxWidth} x {boxHeight} at ({left}, {top}) is not inside a picture of "
                + $"{source.Width} x {source.Height}");
        if (source.Channels != target.Channels)
            throw new ArgumentException($"{source.Channels} channels cannot be resized into {target.Channels}");

        int channels = source.Channels, stride = source.Width * channels, targetStride = target.Width * channels;
        var box = source.Pixels.AsSpan(top * stride + left * channels);
        if (boxWidth == target.Width)
        {
            Vertical(box, stride, boxHeight, target.Pixels, target.Height, targetStride, kind);
            return;
        }
        if (boxHeight == target.Height)
        {
            Horizontal(box, stride, boxWidth, target.Pixels, target.Width, target.Height, channels, kind);
            return;
        }
        byte[] middle = ArrayPool<byte>.Shared.Rent(checked(boxHeight * targetStride));
        Horizontal(box, stride, boxWidth, middle, target.Width, boxHeight, channels, kind);
        Vertical(middle, targetStride, boxHeight, target.Pixels, target.Height, targetStride, kind);
        ArrayPool<byte>.Shared.Return(middle);
    }

    /// <summary>The whole picture scaled to a new size.</summary>
    public static Image Resize(Image source, int width, int height, Interpolation kind = Interpolation.Bilinear)
    {
        var target = new Image(width, height, source.Channels);
        Resize(source, 0, 0, source.Width, source.Height, target, kind);
        return target;
    }

    private static void Horizontal(ReadOnlySpan<byte> source, int stride, int width, Span<byte> target, int newWidth, int rows,
        int channels, Interpolation kind)
    {
        var weights = WeightsFor(width, newWidth, kind);
        const int half = 1 << (PrecisionBits - 1);
        for (int y = 0; y < rows; y++)
        {
            var from = source.Slice(y * stride, width * channels);
            var to = target.Slice(y * newWidth * channels, newWidth * channels);
            for (int x = 0; x < newWidth; x++)
            {
                var k = weights.Of(x, out int first);
                if (channels == 1)
                {
                    var window = from.Slice(first, k.Length);
                    int sum = half;
                    for (int i = 0; i < k.Length; i++) sum += window[i] * k[i];
                    to[x] = Clip(sum);
                }
                else
                {
                    var window = from.Slice(3 * first, 3 * k.Length);
                    int red = half, green = half, blue = half;
                    for (int i = 0; i < k.Length; i++)
                    {
                        red += window[3 * i] * k[i];
                        green += window[3 * i + 1] * k[i];
                        blue += window[3 * i + 2] * k[i];
                    }
                    to[3 * x] = Clip(red);
                    to[3 * x + 1] = Clip(green);
                    to[3 * x + 2] = Clip(blue);
                }
            }
        }
    }

    private static void Vertical(ReadOnlySpan<byte> source, int stride, int height, Span<byte> target, int newHeight,
        int rowBytes, Interpolation kind)
    {
        if (height == newHeight)
        {
            for (int y = 0; y < height; y++) source.Slice(y * stride, rowBytes).CopyTo(target[(y * rowBytes)..]);
            return;
        }
        var weights = WeightsFor(height, newHeight, kind);
        int[] sums = ArrayPool<int>.Shared.Rent(rowBytes);
        var sum = sums.AsSpan(0, rowBytes);
        for (int y = 0; y < newHeight; y++)
        {
            var k = weights.Of(y, out int first);
            sum.Fill(1 << (PrecisionBits - 1));
            for (int i = 0; i < k.Length; i++) ByteRows.AddScaled(source.Slice((first + i) * stride, rowBytes), k[i], sum);
            ByteRows.ShiftAndClip(sum, PrecisionBits, target.Slice(y * rowBytes, rowBytes));
        }
        ArrayPool<int>.Shared.Return(sums);
    }

    private static byte Clip(int sum) => (byte)Math.Clamp(sum >> PrecisionBits, 0, 255);

    private static Weights WeightsFor(int from, int to, Interpolation kind)
    {
        // Random crops ask for few hundred lengths; a folder of pictures of every size must not fill the memory.
        if (Cache.TryGetValue((from, to, kind), out var weights)) return weights;
        weights = new Weights(from, to, kind);
        if (Cache.Count < MaxCached) Cache.TryAdd((from, to, kind), weights);
        return weights;
    }

    /// <summary>For each output position along one axis: the first input position and the weights from there.</summary>
    private sealed class Weights
    {
        private readonly int[] first, start, values;

        public Weights(int from, int to, Interpolation kind)
        {
            double scale = (double)from / to, filterScale = Math.Max(scale, 1.0);
            double support = (kind == Interpolation.Bilinear ? 1.0 : 2.0) * filterScale;
            first = new int[to];
            start = new int[to + 1];
            var all = new List<int>(to * 4);
            double[] window = new double[(int)Math.Ceiling(support) * 2 + 1];
            for (int x = 0; x < to; x++)
            {
                double center = (x + 0.5) * scale;
                int low = Math.Max((int)(center - support + 0.5), 0), high = Math.Min((int)(center + support + 0.5), from);
                double total = 0;
                for (int i = 0; i < high - low; i++)
                    total += window[i] = Filter((i + low - center + 0.5) * (1.0 / filterScale), kind);
                for (int i = 0; i < high - low; i++)
                {
                    double fixedPoint = window[i] / total * (1 << PrecisionBits);
                    all.Add((int)(fixedPoint + (window[i] / total < 0 ? -0.5 : 0.5)));
                }
                first[x] = low;
                start[x + 1] = all.Count;
            }
            values = [.. all];
        }

        public ReadOnlySpan<int> Of(int x, out int firstInput)
        {
            firstInput = first[x];
            return values.AsSpan(start[x], start[x + 1] - start[x]);
        }

        private static double Filter(double x, Interpolation kind)
        {
            const double a = -0.5;
            x = Math.Abs(x);
            if (kind == Interpolation.Bilinear) return x < 1 ? 1 - x : 0;
            if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
        }
    }
}
