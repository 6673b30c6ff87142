using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

/// <summary>
/// What a layer should give (y), what it has left to make it from (x), and the weights that it has for that: the moments say all
/// that a least-squares fit needs.
/// <code>
/// W' = W + (Cov(y, x) - W Cov(x)) (Cov(x) + lambda·I)⁻¹      b' = E[y] - W' E[x]
/// </code>
/// The ridge draws towards the weights that stay, not towards zero, and the mean of y is kept for any lambda. Where y = W x + W_D x_D
/// + b of the very same x this is W' = W + W_D A, A being the ridge regression of the removed x_D on x. Of inputs from a network that
/// has changed in front it is the regression of the old outputs on the new inputs.
/// </summary>
/// <param name="Outputs">m, values of y.</param>
/// <param name="Inputs">k, values of x.</param>
/// <param name="Weight">[m, k] the weights of x as they are.</param>
/// <param name="Covariance">[k, k] of x.</param>
/// <param name="Cross">[m, k] of y with x.</param>
/// <param name="Variance">The sum of the variances of y.</param>
internal sealed record RefitProblem(
    int Outputs, int Inputs, double[] Weight, double[] Covariance, double[] Cross, double Variance)
{
    /// <summary>Shares of the mean variance of x that are tried as ridge.</summary>
    public static IReadOnlyList<double> Alphas { get; } = [1e-4, 1e-3, 1e-2, 1e-1, 1];

    /// <summary>Where there is nothing to choose by.</summary>
    public const double UsualAlpha = 1e-2;

    /// <summary>The problem that moments with targets pose.</summary>
    /// <param name="intercept">Whether the fit has one; else moments are not centred.</param>
    public static RefitProblem Of(Moments moments, double[] weight, bool intercept = true)
    {
        double variance = moments.TargetVariance().Sum();
        if (!intercept) foreach (double mean in moments.TargetMean) variance += mean * mean;
        return new RefitProblem(moments.Targets, moments.Width, weight, intercept ? moments.Covariance() : moments.SecondMoment(),
            intercept ? moments.TargetCovariance() : moments.TargetSecondMoment(), variance);
    }

    /// <summary>The weights for a ridge of <paramref name="alpha"/> times the mean variance of x; infinity keeps them.</summary>
    /// <exception cref="EspalierException">The activations are no numbers.</exception>
    public double[] Solve(double alpha)
    {
        double trace = 0;
        for (int i = 0; i < Inputs; i++) trace += Covariance[(long)i * Inputs + i];
        if (!double.IsFinite(trace) || !double.IsFinite(Variance))
            throw new EspalierException("the activations of the calibration images are not finite, so nothing can be fitted to them");
        if (double.IsPositiveInfinity(alpha) || Inputs == 0 || trace <= 0) return Weight;
        double[] left = Missing();
        if (Array.TrueForAll(left, x => x == 0)) return Weight;
        Cholesky.Ridged(Covariance, Inputs, trace, alpha, least: 1e-12).SolveRows(left);
        TensorPrimitives.Add(left, Weight, left);
        return left;
    }

    /// <summary>The mean squared error of y, but for its mean.</summary>
    public double Error(double[] weights)
    {
        double error = Variance;
        double[] made = Times(weights);
        for (int i = 0; i < made.Length; i++) error += weights[i] * (made[i] - 2 * Cross[i]);
        return Math.Max(0, error);
    }

    /// <summary>Cov(y, x) - W Cov(x).</summary>
    private double[] Missing()
    {
        double[] left = Times(Weight);
        for (int i = 0; i < left.Length; i++) left[i] = Cross[i] - left[i];
        return left;
    }

    private double[] Times(double[] weights)
    {
        var product = new double[weights.Length];
        Tensors.Threading.Workers.For(Outputs, Math.Max(1, 100_000 / Math.Max(1, Inputs * Inputs)), new Rows(this, weights, product));
        return product;
    }

    private readonly struct Rows(RefitProblem problem, double[] weights, double[] product) : Tensors.Threading.IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            int k = problem.Inputs;
            for (int row = start; row < end; row++)
            {
                Span<double> sum = product.AsSpan(row * k, k);
                for (int j = 0; j < k; j++)
                    TensorPrimitives.MultiplyAdd(problem.Covariance.AsSpan(j * k, k), weights[(long)row * k + j], sum, sum);
            }
        }
    }
}

/// <summary>A layer's weights fitted anew.</summary>
/// <param name="Weight">[m, k].</param>
/// <param name="Alpha">The ridge, as a share of the mean variance of x; infinity where the weights stay and only the mean is
/// brought back.</param>
/// <param name="Before">Mean squared error with the weights as they were and the mean brought back.</param>
/// <param name="After">With the new.</param>
internal sealed record Refit(double[] Weight, double Alpha, double Before, double After)
{
    /// <summary>Values of x up to which several ridges are tried: each is a factorisation.</summary>
    private const int MostTried = 1152;

    /// <summary>
    /// Fits to the moments of both halves of the images. The ridge is the one which, fitted to the first half, errs least on the
    /// second: that takes no further pass. Not to fit at all is one of the choices.
    /// </summary>
    /// <param name="second">Null for no second half.</param>
    /// <param name="alpha">A ridge to take instead.</param>
    public static Refit Of(Moments first, Moments? second, double[] weight, bool intercept = true, double? alpha = null)
    {
        RefitProblem all = RefitProblem.Of(second is null ? first : Moments.Merged(first, second), weight, intercept);
        double chosen = alpha ?? RefitProblem.UsualAlpha;
        if (alpha is null && second is not null && first.Count > 0 && second.Count > 0 && all.Inputs <= MostTried)
        {
            RefitProblem fitted = RefitProblem.Of(first, weight, intercept), judged = RefitProblem.Of(second, weight, intercept);
            chosen = RefitProblem.Alphas.Append(double.PositiveInfinity).MinBy(a =>
            {
                double[] tried = fitted.Solve(a);
                return judged.Error(tried) + (intercept ? MeanError(first, second, tried) : 0);
            });
        }
        double[] solved = all.Solve(chosen);
        return new Refit(solved, chosen, all.Error(weight), all.Error(solved));
    }

    /// <summary>What is wrong with the mean of one half where the intercept is of the other.</summary>
    private static double MeanError(Moments first, Moments second, double[] weight)
    {
        double error = 0;
        int k = first.Width;
        for (int row = 0; row < first.Targets; row++)
        {
            double miss = second.TargetMean[row] - first.TargetMean[row];
            for (int j = 0; j < k; j++) miss -= weight[row * k + j] * (second.Mean[j] - first.Mean[j]);
            error += miss * miss;
        }
        return error;
    }
}
