namespace Espalier.Compression;

/// <summary>How likely a residual block is to run in training, by its place.</summary>
internal enum SurvivalRule
{
    /// <summary>1 - l/L · (1 - p) for l from 1 to L (eq. 4 of the paper): already the first block may be left out.</summary>
    Linear,

    /// <summary>p for all.</summary>
    Uniform,

    /// <summary>1 - i/(L - 1) · (1 - p) for i from 0, as transformers have it: the first block always runs.</summary>
    Ramp,
}

/// <summary>See <see cref="SurvivalRule"/>.</summary>
internal static class Survival
{
    /// <summary>The probability of each block.</summary>
    /// <param name="last">That of the last, p, in (0, 1].</param>
    public static double[] Of(SurvivalRule rule, int blocks, double last) =>
    [
        .. Enumerable.Range(0, blocks).Select(i => rule switch
        {
            SurvivalRule.Linear => 1 - (i + 1.0) / blocks * (1 - last),
            SurvivalRule.Ramp => 1 - (double)i / Math.Max(1, blocks - 1) * (1 - last),
            _ => last,
        }),
    ];
}
