using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Imaging;

/// <summary>
/// From images that one preprocessing has made to what another would have made of the same pixels: means, deviations and colours
/// change, sizes stay. Each channel is a weighted sum of the given ones, so that mixed images can be turned too.
/// </summary>
internal sealed class PixelMap
{
    /// <summary>ITU-R BT.601, as grey pictures are made elsewhere in this library; in the order of RGB.</summary>
    private static readonly double[] Luma = [0.299, 0.587, 0.114];

    private readonly float[,] weights;      // [channels out, channels in]
    private readonly float[] shifts;        // [channels out]
    private readonly bool isIdentity;

    public PixelMap(Preprocessing from, Preprocessing to)
    {
        (weights, shifts) = (new float[to.Channels, from.Channels], new float[to.Channels]);
        isIdentity = from.Channels == to.Channels;
        for (int o = 0; o < to.Channels; o++)
        {
            double scale = 1 / ((double)to.Divisor * to.StdOf(o)), shift = -(double)to.MeanOf(o) / to.StdOf(o);
            for (int i = 0; i < from.Channels; i++)
            {
                // sample = divisor (x std + mean), then the other way round with the other's numbers.
                double share = Share(from.Colors, i, to.Colors, o) * scale * from.Divisor;
                weights[o, i] = (float)(share * from.StdOf(i));
                shift += share * from.MeanOf(i);
                isIdentity &= weights[o, i] == (o == i ? 1 : 0);
            }
            // What is left of equal numbers is rounding.
            shifts[o] = Math.Abs(shift) < 1e-12 ? 0 : (float)shift;
            isIdentity &= shifts[o] == 0;
        }
    }

    /// <summary>[N, channels in, H, W] -> [N, channels out, H, W]; no gradient goes through.</summary>
    /// <exception cref="ArgumentException">The images have another number of channels.</exception>
    public Tensor Run(Tensor images)
    {
        (int outputs, int inputs) = (weights.GetLength(0), weights.GetLength(1));
        if (images.Rank != 4 || images.Shape[1] != inputs)
            throw new ArgumentException($"images are {images.Shape}, but [N,{inputs},H,W] is wanted");
        if (isIdentity) return images;
        int area = images.Shape[2] * images.Shape[3];
        var result = Tensor.Zeros(new Shape(images.Shape[0], outputs, images.Shape[2], images.Shape[3]));
        for (int plane = 0; plane < images.Shape[0] * outputs; plane++)
        {
            (int image, int o) = (plane / outputs, plane % outputs);
            Span<float> y = result.Span.Slice(plane * area, area);
            y.Fill(shifts[o]);
            for (int i = 0; i < inputs; i++)
            {
                if (weights[o, i] == 0) continue;
                ReadOnlySpan<float> x = images.Span.Slice((image * inputs + i) * area, area);
                TensorPrimitives.MultiplyAdd(x, weights[o, i], y, y);
            }
        }
        return result;
    }

    /// <summary>How much of a channel is in another.</summary>
    private static double Share(ColorOrder from, int i, ColorOrder to, int o) => (from, to) switch
    {
        (ColorOrder.Grey, _) => 1,
        (_, ColorOrder.Grey) => Luma[from == ColorOrder.Bgr ? 2 - i : i],
        _ => i == (from == to ? o : 2 - o) ? 1 : 0,
    };
}
