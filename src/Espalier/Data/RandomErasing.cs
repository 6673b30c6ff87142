using Espalier.Tensors;

namespace Espalier.Data;

/// <summary>Random erasing (Zhong et al., arXiv 1708.04896) as DeiT trains with it: now and then a box of the normalised picture is
/// replaced by normal noise, each number by its own.</summary>
/// <param name="Probability">That a picture has such a box.</param>
public sealed record RandomErasing(float Probability = 0.25f)
{
    private const double MinArea = 0.02, MaxArea = 1.0 / 3, MostAspect = 1 / 0.3;
    private const int Attempts = 10;

    public string Description => FormattableString.Invariant($"RandomErasing {Probability}");

    /// <param name="image">[channels, size, size], changed in place.</param>
    public void Apply(Span<float> image, int channels, int size, ref Rng rng)
    {
        if (rng.NextFloat() >= Probability) return;
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            double area = (MinArea + (MaxArea - MinArea) * rng.NextDouble()) * size * size;
            double aspect = Math.Exp(Math.Log(MostAspect) * (2 * rng.NextDouble() - 1));
            int height = (int)Math.Round(Math.Sqrt(area * aspect)), width = (int)Math.Round(Math.Sqrt(area / aspect));
            if (height >= size || width >= size) continue;
            int top = rng.NextInt(size - height + 1), left = rng.NextInt(size - width + 1);
            for (int line = 0; line < channels * height; line++)
            {
                int row = line / height * size + top + line % height;
                foreach (ref float x in image.Slice(row * size + left, width)) x = rng.NextNormal();
            }
            return;
        }
    }
}
