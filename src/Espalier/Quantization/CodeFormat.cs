namespace Espalier.Quantization;

/// <summary>Which codes stand for numbers: whole ones from <see cref="Low"/> to <see cref="High"/>.</summary>
/// <param name="Low">The least code, 0 or below.</param>
/// <param name="High">The largest.</param>
/// <param name="Symmetric">Whether code 0 stands for 0; else a zero point is fitted to the range.</param>
public sealed record CodeFormat(int Low, int High, bool Symmetric)
{
    /// <summary>Bits of a weight's codes: 2 to 8, symmetric. The least that they could say, such as -128, is left out, so that
    /// ranges are alike on both sides.</summary>
    public static CodeFormat Weight(int bits) => new(1 - (1 << (Checked(bits) - 1)), (1 << (bits - 1)) - 1, Symmetric: true);

    /// <summary>Bits of an activation's codes: 2 to 8, with a zero point.</summary>
    public static CodeFormat Activation(int bits) => new(0, (1 << Checked(bits)) - 1, Symmetric: false);

    /// <summary>
    /// Scale and zero point of values from <paramref name="min"/> to <paramref name="max"/>. The range is widened to hold 0,
    /// which has a code of its own: padding, and what ReLU cuts, stay exact.
    /// </summary>
    /// <exception cref="EspalierException">An end of the range is no number.</exception>
    public (float Scale, int Zero) Fit(float min, float max)
    {
        if (!float.IsFinite(min) || !float.IsFinite(max))
            throw new EspalierException(
                $"values from {min} to {max} have no scale: the network gives numbers that are not finite");
        min = Math.Min(min, 0);
        max = Math.Max(max, 0);
        float largest = Math.Max(-min, max);
        if (largest == 0) return (1, Symmetric ? 0 : Low);
        float least = MathF.ScaleB(Math.Max(1, largest), -23);
        if (Symmetric) return (Math.Max(largest / High, least), 0);
        float scale = Math.Max((max - min) / (High - Low), least);
        return (scale, (int)Math.Clamp(MathF.Round(Low - min / scale), Low, High));
    }

    /// <summary>The number that x's code stands for.</summary>
    public float Rounded(float x, float scale, int zero) =>
        (Math.Clamp(MathF.Round(x / scale) + zero, Low, High) - zero) * scale;

    private static int Checked(int bits) => bits is >= 2 and <= 8 ? bits
        : throw new EspalierException($"codes are of 2 to 8 bits, not of {bits}");
}
