using System.Globalization;
using Espalier.Optim;
using Espalier.Training;

namespace Espalier.Compression;

/// <summary>
/// Zeroes filters every so many steps of a training. Gradients and momentum go on as they are, so a filter moves on at once
/// and may be spared the next time.
/// </summary>
/// <param name="resetMomentum">Whether what the optimiser keeps for zeroed filters is forgotten instead.</param>
internal sealed class SoftFilterHook(SoftFilters filters, double ratio, long every, long steps, bool asymptotic,
    bool resetMomentum = false) : ITrainingHook
{
    private Optimizer? optimizer;

    /// <summary>q⁸ is what is left to go at the end, q after the first eighth: 1 - q = 0.75 (1 - q⁸).</summary>
    private static readonly double Left = SolveLeft();

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("SoftFilterRatio", ratio.ToString(CultureInfo.InvariantCulture)),
        ("SoftFilterEvery", every.ToString(CultureInfo.InvariantCulture)),
        ("SoftFilterAsymptotic", asymptotic ? "yes" : "no"),
        ("SoftFilterResetMomentum", resetMomentum ? "yes" : "no"),
    ];

    /// <inheritdoc/>
    public void BeforeForward(in StepContext context) => optimizer = context.Optimizer;

    /// <inheritdoc/>
    public void AfterStep(long step)
    {
        if (step % every != 0 && step != steps) return;
        filters.Zero(asymptotic ? Asymptotic(ratio, (double)step / steps) : ratio, resetMomentum ? optimizer : null);
    }

    /// <summary>
    /// The share at some part of the training: an exponential through (0, 0), (1/8, 0.75 goal) and (1, goal) (Asymptotic Soft
    /// Filter Pruning, IEEE Trans. Cybernetics 2019).
    /// </summary>
    internal static double Asymptotic(double goal, double done) =>
        goal * (1 - Math.Pow(Left, 8 * done)) / (1 - Math.Pow(Left, 8));

    private static double SolveLeft()
    {
        double q = 0.25;
        for (int i = 0; i < 20; i++) q = 0.25 + 0.75 * Math.Pow(q, 8);
        return q;
    }
}
