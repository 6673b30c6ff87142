using System.Globalization;
using Espalier.Optim;
using Espalier.Training;

namespace Espalier.Compression.Methods.SoftFilter;

/// <summary>
/// Soft Filter Pruning (He et al., IJCAI 2018, arXiv 1808.06866): training in which the filters of smallest norm are set to zero
/// again and again but may grow back; those that are zero at the end are removed.
/// </summary>
public sealed record SoftFilter : CompressionMethod
{
    private static readonly MethodSettings<SoftFilter> Known = new()
    {
        { "every", m => m.Every, (m, x) => m with { Every = x }, 0, 1_000_000_000_000,
            "steps between zeroings, 0 for a tenth of the training; the last step is always one" },
        { "norm", m => m.Norm, (m, x) => m with { Norm = x }, 1, 2,
            "1 or 2: what a filter's size is, the sum of absolute weights or the Euclidean norm" },
        { "reset-momentum", m => m.ResetMomentum, (m, x) => m with { ResetMomentum = x },
            "yes: the optimiser forgets what it keeps for filters that become zero" },
        { "scatter", m => m.Scatter, (m, x) => m with { Scatter = x },
            "yes: the last filters of residual blocks go too, and the stream stays whole; no: they stay" },
        { "asymptotic", m => m.Asymptotic, (m, x) => m with { Asymptotic = x },
            "yes: the share that is zeroed rises to its goal, three quarters of it in the first eighth" },
    };

    /// <inheritdoc/>
    public override string Name => "soft-filter";

    /// <inheritdoc/>
    public override string Purpose => "zeroes small filters again and again in training, and removes those that stay zero";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <summary>Steps between zeroings; 0 for a tenth of the training. The paper zeroes after each epoch.</summary>
    public long Every { get; init; }

    /// <summary>What the size of a filter is: 1 for the sum of absolute weights, 2 for the Euclidean norm.</summary>
    public int Norm { get; init; } = 2;

    /// <summary>Whether the optimiser forgets what it keeps for filters that become zero.</summary>
    public bool ResetMomentum { get; init; }

    /// <summary>
    /// Whether the last convolutions of residual blocks lose filters of their own while the stream stays whole (section 4 of the
    /// paper); never where streams are pruned themselves.
    /// </summary>
    public bool Scatter { get; init; } = true;

    /// <summary>
    /// Whether the share that is zeroed rises to its goal (Asymptotic Soft Filter Pruning, IEEE Trans. Cybernetics 2019).
    /// </summary>
    public bool Asymptotic { get; init; }

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        SelectionOptions selection = Selection.Checked();
        long every = Every > 0 ? Every : Math.Max(1, TrainSteps / 10);
        if (Scatter && !selection.Streams) NarrowBranches.Allow(job.Model.Graph);
        using DependencyGraph graph = job.Graph();
        ChannelGroup[] groups = [.. selection.Candidates(graph).Where(g => FilterWeights.Of(g).Any())];
        if (groups.Length == 0)
            throw new EspalierException("no filter could be removed: what its convolutions make is read whole, by lists of channels");
        SoftFilters filters = new(groups, selection, Norm);
        LayerRatios shares = Shares(graph, filters, selection);
        filters.Zero(Asymptotic && TrainSteps > 0 ? shares.Map(_ => 0) : shares);
        job.Train("soft pruning", TrainSteps, new SoftFilterHook(filters, shares, every, TrainSteps, Asymptotic, ResetMomentum));
        // Where averages of the weights were kept they are what the training leaves, and nothing in them need be zero.
        filters.Zero(shares);
        RemovalPlan plan = filters.Zeroed();
        if (plan.Count == 0)
            throw new EspalierException("nothing would be removed: with so small a target every layer rounds to its full "
                + "width; ask for more");
        int all = groups.Sum(g => g.Count);
        job.Log(FormattableString.Invariant($"{plan.Count} of {all} filters are zero, {(double)plan.Count / all:0.0%} where ")
            + (shares.OfAll is { } s ? FormattableString.Invariant($"{s:0.0%} of each layer") : $"{shares}") + " were to go");
        var (difference, notes) = LastZeroing.Run(graph, plan);
        job.Log(FormattableString.Invariant($"their constants moved into what follows; this changes logits by {difference:0.0e+0}"));
        foreach (string note in notes) job.Log(note);
        job.Remove(graph, plan);
        NarrowBranches.Tidy(job.Model.Graph);
        job.Train("fine-tune", FineTuneSteps);
    }

    /// <summary>The share of each layer to zero; for a target of multiply-adds the least whole per cent that reaches
    /// it.</summary>
    private static LayerRatios Shares(DependencyGraph graph, SoftFilters filters, SelectionOptions selection)
    {
        if (selection.Ratio is { } ratio) return ratio;
        if (selection.TargetFlops is not { } target)
            throw new EspalierException("soft filter pruning takes a ratio or a target of multiply-adds, which fix the share "
                + "before training");
        for (int percent = 1; percent < 100; percent++)
        {
            LayerRatios share = new(("*", percent / 100.0));
            RemovalPlan plan = filters.Smallest(share);
            if (plan.Count > 0 && graph.MultiplyAdds(plan) <= target * graph.MultiplyAdds()) return share;
        }
        throw new EspalierException(FormattableString.Invariant($"no share of filters reaches {target} of the multiply-adds; ")
            + "allow narrower layers, more layers, or ask for less");
    }
}

/// <summary>
/// Zeroes filters every so many steps of a training. Gradients and momentum go on as they are, so a filter moves on at once
/// and may be spared the next time.
/// </summary>
/// <param name="resetMomentum">Whether what the optimiser keeps for zeroed filters is forgotten instead.</param>
internal sealed class SoftFilterHook(SoftFilters filters, LayerRatios shares, long every, long steps, bool asymptotic,
    bool resetMomentum = false) : ITrainingHook
{
    private Optimizer? optimizer;

    /// <summary>q⁸ is what is left to go at the end, q after the first eighth: 1 - q = 0.75 (1 - q⁸).</summary>
    private static readonly double Left = SolveLeft();

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("SoftFilterRatio", shares.ToString()),
        ("SoftFilterEvery", every.ToString(CultureInfo.InvariantCulture)),
        ("SoftFilterAsymptotic", asymptotic ? "yes" : "no"),
        ("SoftFilterResetMomentum", resetMomentum ? "yes" : "no"),
        ("SoftFilterLayers", filters.Identity),
    ];

    /// <inheritdoc/>
    public void BeforeForward(in StepContext context) => optimizer = context.Optimizer;

    /// <inheritdoc/>
    public void AfterStep(long step)
    {
        if (step % every != 0 && step != steps) return;
        filters.Zero(asymptotic ? shares.Map(goal => Asymptotic(goal, (double)step / steps)) : shares,
            resetMomentum ? optimizer : null);
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
