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
    /// <summary>Weights that are kept, and numbers that each may have: those of photographs have some thousand.</summary>
    private const int MaxCached = 256, MostNumbers = 1 << 16;

    private static readonly ConcurrentDictionary<(int, long, long, int, Interpolation), Weights> Cache = new();

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

        int channels = source.Channels, stride = source.Width * channels;
        Weights? across = boxWidth == target.Width ? null : WeightsFor(boxWidth, target.Width, 0, target.Width, kind);
        Weights? down = boxHeight == target.Height ? null : WeightsFor(boxHeight, target.Height, 0, target.Height, kind);
        Scale(source.Pixels.AsSpan(top * stride + left * channels), stride, across, down, target);
    }

    /// <summary>The whole picture scaled to a new size.</summary>
    public static Image Resize(Image source, int width, int height, Interpolation kind = Interpolation.Bilinear)
    {
        var target = new Image(width, height, source.Channels);
        Resize(source, 0, 0, source.Width, source.Height, target, kind);
        return target;
    }

    /// <summary>
    /// A part of the picture as it would be when scaled to <paramref name="width"/> x <paramref name="height"/>, which may be far
    /// too large to be computed whole: byte for byte what PIL's resize followed by crop gives.
    /// </summary>
    /// <param name="left">0 .. <paramref name="width"/> - the target's width.</param>
    /// <param name="target">[height, width, C] of the part.</param>
    public static void ResizePart(Image source, long width, long height, long left, long top, Image target, Interpolation kind)
    {
        if (left < 0 || top < 0 || left > width - target.Width || top > height - target.Height)
            throw new ArgumentException(
                $"the part {target.Width} x {target.Height} at ({left}, {top}) is not inside {width} x {height}");
        if (source.Channels != target.Channels)
            throw new ArgumentException($"{source.Channels} channels cannot be resized into {target.Channels}");
        int channels = source.Channels, stride = source.Width * channels, start = 0;
        Weights? across = null, down = null;
        if (width == source.Width) start += (int)left * channels;
        else across = WeightsFor(source.Width, width, left, target.Width, kind);
        if (height == source.Height) start += (int)top * stride;
        else down = WeightsFor(source.Height, height, top, target.Height, kind);
        Scale(source.Pixels.AsSpan(start), stride, across, down, target);
    }

    /// <param name="source">From the first sample that counts.</param>
    /// <param name="stride">Samples from row to row of the source.</param>
    /// <param name="across">Null where rows are only copied; so <paramref name="down"/> for columns.</param>
    private static void Scale(ReadOnlySpan<byte> source, int stride, Weights? across, Weights? down, Image target)
    {
        int rowBytes = target.Width * target.Channels;
        if (across is null)
        {
            Vertical(source, stride, 0, target.Pixels, target.Height, rowBytes, down);
            return;
        }
        if (down is null)
        {
            Horizontal(source, stride, target.Pixels, target.Width, target.Height, target.Channels, across);
            return;
        }
        int rows = down.End - down.Start;
        byte[] middle = ArrayPool<byte>.Shared.Rent(checked(rows * rowBytes));
        Horizontal(source[(down.Start * stride)..], stride, middle, target.Width, rows, target.Channels, across);
        Vertical(middle, rowBytes, down.Start, target.Pixels, target.Height, rowBytes, down);
        ArrayPool<byte>.Shared.Return(middle);
    }

    private static void Horizontal(ReadOnlySpan<byte> source, int stride, Span<byte> target, int newWidth, int rows, int channels,
        Weights weights)
    {
        const int half = 1 << (PrecisionBits - 1);
        for (int y = 0; y < rows; y++)
        {
            var from = source[(y * stride)..];
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

    /// <param name="skipped">Rows of the picture that are not in <paramref name="source"/>.</param>
    private static void Vertical(ReadOnlySpan<byte> source, int stride, int skipped, Span<byte> target, int newHeight,
        int rowBytes, Weights? weights)
    {
        if (weights is null)
        {
            for (int y = 0; y < newHeight; y++) source.Slice(y * stride, rowBytes).CopyTo(target[(y * rowBytes)..]);
            return;
        }
        int[] sums = ArrayPool<int>.Shared.Rent(rowBytes);
        var sum = sums.AsSpan(0, rowBytes);
        for (int y = 0; y < newHeight; y++)
        {
            var k = weights.Of(y, out int first);
            sum.Fill(1 << (PrecisionBits - 1));
            for (int i = 0; i < k.Length; i++)
                ByteRows.AddScaled(source.Slice((first - skipped + i) * stride, rowBytes), k[i], sum);
            ByteRows.ShiftAndClip(sum, PrecisionBits, target.Slice(y * rowBytes, rowBytes));
        }
        ArrayPool<int>.Shared.Return(sums);
    }

    private static byte Clip(int sum) => (byte)Math.Clamp(sum >> PrecisionBits, 0, 255);

    private static Weights WeightsFor(int from, long to, long position, int count, Interpolation kind)
    {
        // Random crops ask for few hundred lengths; a folder of pictures of every size must not fill the memory.
        if (Cache.TryGetValue((from, to, position, count, kind), out var weights)) return weights;
        weights = new Weights(from, to, position, count, kind);
        if (Cache.Count < MaxCached && weights.Count <= MostNumbers) Cache.TryAdd((from, to, position, count, kind), weights);
        return weights;
    }

    /// <summary>For some output positions along one axis: the first input position and the weights from there.</summary>
    private sealed class Weights
    {
        private readonly int[] first, start, values;

        public int Count => values.Length;

        /// <param name="position">The first output position of <paramref name="count"/>, of <paramref name="to"/> in all.</param>
        public Weights(int from, long to, long position, int count, Interpolation kind)
        {
            double scale = (double)from / to, filterScale = Math.Max(scale, 1.0);
            double support = (kind == Interpolation.Bilinear ? 1.0 : 2.0) * filterScale;
            first = new int[count];
            start = new int[count + 1];
            var all = new List<int>(count * 4);
            double[] window = new double[(int)Math.Ceiling(support) * 2 + 1];
            for (int x = 0; x < count; x++)
            {
                double center = (position + x + 0.5) * scale;
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
            // Both rise with the output position.
            Start = first[0];
            End = first[^1] + start[count] - start[count - 1];
        }

        /// <summary>The first input position that has a weight.</summary>
        public int Start { get; }

        /// <summary>The one after the last.</summary>
        public int End { get; }

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
