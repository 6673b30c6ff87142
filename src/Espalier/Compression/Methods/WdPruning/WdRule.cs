namespace Espalier.Compression.Methods.WdPruning;

/// <summary>How many rows a layer keeps and which (WDPruning, section 3.2), and what a budget costs (3.4).</summary>
internal static class WdRule
{
    /// <summary>
    /// Of <paramref name="n"/> rows the share <paramref name="keep"/>, rounded up; where n is a multiple of 16 to the nearest
    /// multiple of 16, at least one, upward where two are as near.
    /// </summary>
    /// <param name="rounds">False of heads: with 16 of them none could ever go.</param>
    public static int Count(int n, double keep, bool rounds = true)
    {
        int j = Math.Clamp((int)Math.Ceiling(keep * n), 1, n);
        if (!rounds || n % 16 != 0 || j % 16 == 0) return j;
        int low = Math.Max(16, j / 16 * 16), high = Math.Max(16, low + (j > 16 ? 16 : 0));
        return Math.Min(n, j - low < high - j ? low : high);
    }

    /// <summary>1 for the rows of the highest scores, of equal ones the first; 0 for the rest.</summary>
    public static double[] Mask(double[] scores, double threshold, bool rounds = true)
    {
        var mask = new double[scores.Length];
        int count = Count(mask.Length, LearnedNumbers.Sigmoid(threshold), rounds);
        foreach (int k in Enumerable.Range(0, mask.Length).OrderByDescending(k => scores[k]).Take(count)) mask[k] = 1;
        return mask;
    }

    /// <summary>What a threshold's gradient is on the way through the mask: sum of gradient times mask, as the reference has it.
    /// </summary>
    public static double ThresholdGradient(double[] gradient, double[] mask) => gradient.Zip(mask, (g, m) => g * m).Sum();

    /// <summary>The slope by R of λ1 (R - target) + λ2 (R - target)², which is nothing where R is at the target or below.</summary>
    public static double Push(double remaining, double target, double lambda1, double lambda2) =>
        remaining <= target ? 0 : lambda1 + 2 * lambda2 * (remaining - target);
}
