using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>
/// Mixes the images of a batch, and their labels in the same shares: mixup blends two images (Zhang et al., arXiv 1710.09412),
/// CutMix puts a rectangle of one into the other (Yun et al., arXiv 1905.04899). Image n meets image N - 1 - n; one share λ,
/// from a Beta distribution, holds for the whole batch. Where both are on, each batch gets one of them, by equal chance.
/// </summary>
/// <param name="Mixup">α of mixup's Beta(α, α); 0 for none. DeiT uses 0.8.</param>
/// <param name="CutMix">α of CutMix's; 0 for none. DeiT uses 1.</param>
public sealed record Mixing(float Mixup = 0, float CutMix = 0)
{
    /// <summary>Whether anything is mixed at all.</summary>
    public bool IsOn => Mixup > 0 || CutMix > 0;

    /// <summary>
    /// Mixes <paramref name="images"/> [N, C, H, W] in place and gives the targets [N, K]: the two labels, each smoothed, in
    /// the shares λ and 1 - λ.
    /// </summary>
    /// <param name="labels">[N].</param>
    /// <param name="classes">K.</param>
    /// <param name="smoothing">ε of label smoothing.</param>
    public Tensor Run(Tensor images, int[] labels, int classes, float smoothing, ref Rng rng)
    {
        if (images.Rank != 4 || images.Shape[0] != labels.Length)
            throw new ArgumentException($"Mixing: images {images.Shape} for {labels.Length} labels must be [N, C, H, W]");
        bool cut = CutMix > 0 && (Mixup <= 0 || rng.NextFloat() < 0.5f);
        float share = 1;
        if (cut) share = Cut(images, Beta(CutMix, ref rng), ref rng);
        else if (Mixup > 0) Blend(images, share = Beta(Mixup, ref rng));
        return Targets(labels, classes, smoothing, share);
    }

    /// <summary>x_n = λ·x_n + (1 - λ)·x_(N-1-n).</summary>
    internal static void Blend(Tensor images, float share)
    {
        int n = images.Shape[0], size = (int)(images.Length / Math.Max(n, 1));
        for (int i = 0; i < n / 2; i++)
        {
            Span<float> a = images.Span.Slice(i * size, size), b = images.Span.Slice((n - 1 - i) * size, size);
            for (int j = 0; j < size; j++)
            {
                (float x, float y) = (a[j], b[j]);
                a[j] = y + share * (x - y);
                b[j] = x + share * (y - x);
            }
        }
    }

    /// <summary>
    /// Exchanges a rectangle of sides sqrt(1 - λ)·H and sqrt(1 - λ)·W around a random point, cut off at the border.
    /// </summary>
    /// <returns>The share of the image that is left: λ after the cutting off.</returns>
    internal static float Cut(Tensor images, float share, ref Rng rng)
    {
        (int n, int c, int h, int w) = (images.Shape[0], images.Shape[1], images.Shape[2], images.Shape[3]);
        float side = MathF.Sqrt(1 - share);
        (int top, int bottom) = Interval(h, (int)(h * side), rng.NextInt(h));
        (int left, int right) = Interval(w, (int)(w * side), rng.NextInt(w));
        for (int i = 0; i < n / 2; i++)
        {
            for (int plane = 0; plane < c; plane++)
            {
                for (int y = top; y < bottom; y++)
                {
                    int width = right - left;
                    Span<float> a = images.Span.Slice(((i * c + plane) * h + y) * w + left, width);
                    Span<float> b = images.Span.Slice((((n - 1 - i) * c + plane) * h + y) * w + left, width);
                    for (int x = 0; x < width; x++) (a[x], b[x]) = (b[x], a[x]);
                }
            }
        }
        return 1 - (float)(bottom - top) * (right - left) / (h * w);
    }

    /// <summary>[N, K]: λ·q(y_n) + (1 - λ)·q(y_(N-1-n)), q the smoothed one-hot distribution.</summary>
    internal static Tensor Targets(int[] labels, int classes, float smoothing, float share)
    {
        var targets = new Tensor(new Shape(labels.Length, classes));
        targets.Fill(smoothing / classes);
        for (int n = 0; n < labels.Length; n++)
        {
            Span<float> row = targets.Span.Slice(n * classes, classes);
            row[labels[n]] += share * (1 - smoothing);
            row[labels[^(n + 1)]] += (1 - share) * (1 - smoothing);
        }
        return targets;
    }

    /// <summary>A draw from Beta(α, α): the share of one of two Gamma(α) draws.</summary>
    internal static float Beta(double alpha, ref Rng rng)
    {
        double x = Gamma(alpha, ref rng), y = Gamma(alpha, ref rng);
        return x + y > 0 ? (float)(x / (x + y)) : 0.5f;
    }

    /// <summary>Marsaglia and Tsang's method (ACM TOMS 26, 2000), which needs α ≥ 1; below, Gamma(α + 1)·u^(1/α).</summary>
    private static double Gamma(double alpha, ref Rng rng)
    {
        if (alpha < 1) return Gamma(alpha + 1, ref rng) * Math.Pow(1 - rng.NextDouble(), 1 / alpha);
        double d = alpha - 1.0 / 3, c = 1 / Math.Sqrt(9 * d);
        while (true)
        {
            double x = rng.NextNormal(), root = 1 + c * x;
            if (root <= 0) continue;
            double v = root * root * root;
            if (Math.Log(1 - rng.NextDouble()) < 0.5 * x * x + d - d * v + d * Math.Log(v)) return d * v;
        }
    }

    private static (int From, int To) Interval(int length, int side, int centre) =>
        (Math.Clamp(centre - side / 2, 0, length), Math.Clamp(centre + side / 2, 0, length));
}
