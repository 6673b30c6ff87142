using Espalier.Compression;
using Espalier.Tensors;
using static Espalier.Tests.Compression.Calibration.RecoveryGolden;

namespace Espalier.Tests.Compression.Calibration;

/// <summary>The closed form with known answers; the first by hand, the others by numpy.</summary>
public sealed class RefitTests
{
    private static readonly double[] C = [2, 1, 0, 1, 2, 1, 0, 1, 2], Mu = [1, 0, -1], W = [1, 2, 3, 0, 1, -1], B = [0.5, -0.5];

    // Unit 2 goes: what a layer of W on it and the others gave, from the others.
    private static RefitProblem ByHand() => new(2, 2, [1, 2, 0, 1], [2, 1, 1, 2], [.. Times(W, C, 2, 3, [0, 1])],
        Variance: Enumerable.Range(0, 2).Sum(r => Enumerable.Range(0, 9).Sum(i => W[r * 3 + i / 3] * C[i] * W[r * 3 + i % 3])));

    [Fact]
    public void By_hand_without_a_ridge()
    {
        RefitProblem problem = ByHand();
        double[] fitted = problem.Solve(0);
        Close([0, 4, 1.0 / 3, 1.0 / 3], fitted, 1e-12);
        Close([-1.5, 1.0 / 6], Bias(fitted), 1e-12);
        Assert.Equal(40.0 / 3, problem.Error(fitted), 1e-10);
        // No fit at all, but for the mean.
        Assert.Equal(problem.Weight, problem.Solve(double.PositiveInfinity));
        Close([-2.5, 0.5], Bias(problem.Weight), 1e-12);
        Assert.Equal(20, problem.Error(problem.Weight), 1e-10);
    }

    /// <summary>The ridge draws towards the weights that stay, not towards zero.</summary>
    [Fact]
    public void By_hand_with_a_ridge_of_1()
    {
        RefitProblem problem = ByHand();
        double[] fitted = problem.Solve(0.5);
        Close([0.625, 3.125, 0.125, 0.625], fitted, 1e-12);
        Close([-2.125, 0.375], Bias(fitted), 1e-12);
        Assert.Equal(14.6875, problem.Error(fitted), 1e-10);
        // What that gives: the cross moments through the same inverse.
        double[] towardsZero = new RefitProblem(2, 2, new double[4], problem.Covariance, problem.Cross, problem.Variance).Solve(0.5);
        Close([0.5, 2.5, 0.25, 0.25], towardsZero, 1e-12);
    }

    [Fact]
    public void Nothing_removed_changes_nothing()
    {
        double[] all = Times(W, C, 2, 3, [0, 1, 2]);
        var problem = new RefitProblem(2, 3, W, C, all, 1);
        Assert.Same(W, problem.Solve(0.1));
    }

    [Fact]
    public void Equals_numpy_and_keeps_the_mean_for_every_ridge()
    {
        var golden = new RecoveryGolden("linear");
        int[] keep = [.. Enumerable.Range(0, 12).Except(golden.Ints("drop"))];
        Moments moments = Pair(golden["x"], golden["weight"], golden["bias"], keep);
        Refit fit = Refit.Of(moments, null, Columns(golden["weight"], 12, keep), alpha: 0.01);
        Close(golden["fitted"], fit.Weight);
        Close(golden["fittedBias"], BiasOf(moments, fit.Weight));
        Assert.True(fit.After < fit.Before);
        foreach (double alpha in (double[])[0, 1, 100])
        {
            double[] w = RefitProblem.Of(moments, Columns(golden["weight"], 12, keep)).Solve(alpha), b = BiasOf(moments, w);
            for (int o = 0; o < 5; o++)
                Assert.Equal(moments.TargetMean[o], b[o] + Enumerable.Range(0, 7).Sum(j => w[o * 7 + j] * moments.Mean[j]), 1e-12);
        }
    }

    [Fact]
    public void Greedy_elimination_is_the_joint_solution()
    {
        var golden = new RecoveryGolden("linear");
        double[] w = golden["weight"];
        using Tensor x = golden.Tensor("x", 120, 12);
        var moments = new Moments(12);
        moments.Add(x);
        double[] c = moments.Covariance();
        var layer = new Elimination(w, c, 12);
        Close(golden["single"], Enumerable.Range(0, 12).Select(j => layer.Cost([j])), 1e-3);
        double total = 0;
        foreach (int j in golden.Ints("order"))
        {
            Assert.Equal(j, Enumerable.Range(0, 12).Except(golden.Ints("order").TakeWhile(i => i != j)).MinBy(i => layer.Cost([i])));
            total += layer.Cost([j]);
            layer.Remove([j]);
        }
        Assert.Equal(golden.Number("total"), total, 1e-3 * total);
        int[] keep = [.. Enumerable.Range(0, 12).Except(golden.Ints("drop"))];
        Close(golden["exact"], Columns(layer.Weight, 12, keep), 1e-3);
        // A block at once costs what its members cost one after another.
        Assert.Equal(total, new Elimination(w, c, 12).Cost(golden.Ints("order")), 1e-6 * total);
        var whole = new Elimination(w, c, 12);
        whole.Remove(golden.Ints("order"));
        Close([.. layer.Weight], whole.Weight, 1e-8);
    }

    /// <summary>In double precision throughout: the least costs that were paid, the error of the joint solution, and the error on the
    /// samples are one number, and both ways lead to the same weights.</summary>
    [Fact]
    public void Greedy_costs_are_the_joint_error_to_the_last_digits()
    {
        const int n = 12, m = 4, samples = 60;
        var rng = new Rng(5);
        double[] x = [.. Enumerable.Range(0, samples * n).Select(_ => (double)rng.NextNormal())];
        double[] w = [.. Enumerable.Range(0, m * n).Select(_ => (double)rng.NextNormal())];
        double At(int s, int i) => x[s * n + i] - Enumerable.Range(0, samples).Average(t => x[t * n + i]);
        double[] c = [.. Enumerable.Range(0, n * n).Select(k => Enumerable.Range(0, samples).Average(s => At(s, k / n) * At(s, k % n)))];
        var layer = new Elimination(w, c, n);
        List<int> keep = [.. Enumerable.Range(0, n)];
        double paid = 0;
        for (int i = 0; i < 5; i++)
        {
            int next = keep.MinBy(j => layer.Cost([j]));
            paid += layer.Cost([next]);
            layer.Remove([next]);
            keep.Remove(next);
        }
        int[] kept = [.. keep];
        var joint = new RefitProblem(m, kept.Length, Columns(w, n, kept), [.. kept.SelectMany(i => kept.Select(j => c[i * n + j]))],
            Times(w, c, m, n, kept), layer.Total);
        double[] solved = joint.Solve(0);
        Close(solved, Columns([.. layer.Weight], n, kept), 1e-12);
        Assert.Equal(joint.Error(solved), paid, 1e-10);
        Assert.Equal(Enumerable.Range(0, samples).Average(s => Enumerable.Range(0, m).Sum(o => Math.Pow(Enumerable.Range(0, n)
            .Sum(i => (w[o * n + i] - layer.Weight[o * n + i]) * At(s, i)), 2))), paid, 1e-10);
    }

    [Fact]
    public void Costs_by_hand()
    {
        var layer = new Elimination(W, C, 3);
        Close([4.0 / 3, 5, 40.0 / 3], Enumerable.Range(0, 3).Select(j => layer.Cost([j])), 1e-10);
        double[] scores = Elimination.Scores([(new Elimination(W, C, 3), [[0], [1], [2]])]);
        Assert.Equal(0, Array.IndexOf(scores, scores.Min()));
        Assert.Equal(4.0 / 3 / layer.Total, scores[0], 1e-10);
    }

    [Fact]
    public void Of_inputs_that_have_changed_it_is_their_regression()
    {
        var golden = new RecoveryGolden("sequential");
        using Tensor x = golden.Tensor("changed", 150, 7), y = golden.Tensor("y", 150, 3);
        var moments = new Moments(7, 3);
        moments.Add(x, y);
        Refit fit = Refit.Of(moments, null, golden["weight"], alpha: 1e-3);
        Close(golden["fitted"], fit.Weight);
        Close(golden["fittedBias"], BiasOf(moments, fit.Weight));
        Assert.Equal(golden.Number("error"), fit.After, 1e-4);
        double[] least = RefitProblem.Of(moments, golden["weight"]).Solve(0);
        Close(golden["least"], Enumerable.Range(0, 3).SelectMany(o => least[(o * 7)..(o * 7 + 7)].Append(BiasOf(moments, least)[o])), 1e-3);
    }

    /// <summary>The error on rows that were not fitted follows from their moments alone.</summary>
    [Fact]
    public void The_other_half_chooses_the_ridge()
    {
        var golden = new RecoveryGolden("halves");
        int[] keep = [.. Enumerable.Range(0, 20).Except(golden.Ints("drop"))];
        double[] w = golden["weight"], kept = Columns(w, 20, keep), none = new double[6], held = golden["held"];
        Moments first = Pair(golden["first"], w, none, keep), second = Pair(golden["second"], w, none, keep);
        Refit fit = Refit.Of(first, second, kept);
        Assert.Equal(RefitProblem.Alphas[Array.IndexOf(held, held.Min())], fit.Alpha);
        Refit all = Refit.Of(Moments.Merged(first, second), null, kept, alpha: fit.Alpha);
        Close(all.Weight, fit.Weight, 1e-12);
        Assert.Equal(RefitProblem.UsualAlpha, Refit.Of(first, null, kept).Alpha);
    }

    [Fact]
    public void Singular_activations_get_a_larger_ridge_and_wrong_ones_an_error()
    {
        // The second input repeats the first: only their sum is known.
        double[] fitted = new RefitProblem(1, 2, [1, 1], [1, 1, 1, 1], [3, 3], 9).Solve(1e-4);
        Assert.Equal(3, fitted[0] + fitted[1], 1e-3);
        Assert.Equal(fitted[0], fitted[1], 1e-9);
        Assert.Equal([0, 0], new RefitProblem(1, 2, [0, 0], [0, 0, 0, 0], [0, 0], 1).Solve(0));
        Assert.Throws<EspalierException>(() => new RefitProblem(1, 1, [1], [double.NaN], [1], 1).Solve(0.1));
    }

    /// <summary>b' = E[y] - W' E[x] of the layer by hand.</summary>
    private static double[] Bias(double[] fitted) => [.. Enumerable.Range(0, 2).Select(r =>
        B[r] + Enumerable.Range(0, 3).Sum(i => W[r * 3 + i] * Mu[i]) - fitted[r * 2] * Mu[0] - fitted[r * 2 + 1] * Mu[1])];

    private static double[] BiasOf(Moments m, double[] w) => [.. Enumerable.Range(0, m.Targets).Select(o =>
        m.TargetMean[o] - Enumerable.Range(0, m.Width).Sum(j => w[o * m.Width + j] * m.Mean[j]))];

    private static double[] Times(double[] w, double[] c, int m, int n, int[] columns) =>
        [.. Enumerable.Range(0, m).SelectMany(r => columns.Select(j => Enumerable.Range(0, n).Sum(i => w[r * n + i] * c[i * n + j])))];

    /// <summary>Moments of some columns of rows, and of what a layer makes of all.</summary>
    private static Moments Pair(double[] rows, double[] weight, double[] bias, int[] keep)
    {
        int n = weight.Length / bias.Length;
        using Tensor x = Rows(Columns(rows, n, keep), keep.Length);
        using Tensor y = Rows([.. Enumerable.Range(0, rows.Length / n).SelectMany(r => Enumerable.Range(0, bias.Length).Select(o =>
            bias[o] + Enumerable.Range(0, n).Sum(i => weight[o * n + i] * rows[r * n + i])))], bias.Length);
        var moments = new Moments(keep.Length, bias.Length);
        moments.Add(x, y);
        return moments;
    }
}
