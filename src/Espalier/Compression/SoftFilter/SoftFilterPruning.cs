using System.Runtime.CompilerServices;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Soft Filter Pruning (He et al., IJCAI 2018, arXiv 1808.06866): training in which the filters of smallest norm are set to zero
/// again and again but may grow back; those that are zero at the end are removed.
/// </summary>
public sealed class SoftFilterPruning : ICompressionMethod
{
    /// <inheritdoc/>
    public string Name => "soft-filter";

    /// <inheritdoc/>
    public string Purpose => "zeroes small filters again and again in training, and removes those that stay zero";

    /// <inheritdoc/>
    public IReadOnlyList<MethodSetting> Settings =>
    [
        new("every", "0", "steps between zeroings, 0 for a tenth of the training; the last step is always one"),
        new("norm", "2", "1 or 2: what a filter's size is, the sum of absolute weights or the Euclidean norm"),
        new("reset-momentum", "no", "yes: the optimiser forgets what it keeps for filters that become zero"),
        new("scatter", "yes", "yes: the last filters of residual blocks go too, and the stream stays whole; no: they stay"),
        new("asymptotic", "no", "yes: the share that is zeroed rises to its goal, three quarters of it in the first eighth"),
    ];

    /// <inheritdoc/>
    public void Run(CompressionJob job)
    {
        CompressionOptions o = job.Options;
        SelectionOptions selection = o.Selection.Checked();
        bool asymptotic = o.Word("asymptotic", "no", "yes") == "yes";
        long every = (long)o.Number("every", 0, 0) is > 0 and var set ? set : Math.Max(1, o.TrainSteps / 10);
        using (new Scope())
            if (o.Word("scatter", "yes", "no") == "yes" && !selection.Streams) NarrowBranches.Allow(job.Net, job.Example(1));
        using DependencyGraph graph = job.Graph();
        ChannelGroup[] groups = [.. selection.Candidates(graph).Where(g => FilterWeights.Of(g).Any())];
        if (groups.Length == 0)
            throw new EspalierException("no filter could be removed: what its convolutions make is read whole, by lists of channels");
        SoftFilters filters = new(groups, selection, norm: o.Word("norm", "2", "1") == "2" ? 2 : 1);
        double ratio = Ratio(graph, filters, selection);
        filters.Zero(asymptotic && o.TrainSteps > 0 ? 0 : ratio);
        job.Train("soft pruning", o.TrainSteps, new SoftFilterHook(filters, ratio, every, o.TrainSteps, asymptotic,
            resetMomentum: o.Word("reset-momentum", "no", "yes") == "yes"));
        // Where averages of the weights were kept they are what the training leaves, and nothing in them need be zero.
        filters.Zero(ratio);
        RemovalPlan plan = filters.Zeroed();
        if (plan.Count == 0)
            throw new EspalierException("nothing would be removed: with so small a target every layer rounds to its full "
                + "width; ask for more");
        int all = groups.Sum(g => g.Count);
        job.Log(FormattableString.Invariant($"{plan.Count} of {all} filters are zero, {(double)plan.Count / all:0.0%} where ")
            + FormattableString.Invariant($"{ratio:0.0%} of each layer were to go"));
        var (difference, notes) = LastZeroing.Run(graph, plan);
        job.Log(FormattableString.Invariant($"their constants moved into what follows; this changes logits by {difference:0.0e+0}"));
        foreach (string note in notes) job.Log(note);
        job.Remove(graph, plan);
        job.Train("fine-tune", o.FineTuneSteps);
    }

    /// <summary>The share of each layer to zero; for a target of multiply-adds the least whole per cent that reaches
    /// it.</summary>
    private static double Ratio(DependencyGraph graph, SoftFilters filters, SelectionOptions selection)
    {
        if (selection.Ratio is { } ratio) return ratio;
        if (selection.TargetFlops is not { } share)
            throw new EspalierException("soft filter pruning takes a ratio or a target of multiply-adds, which fix the share "
                + "before training");
        for (int percent = 1; percent < 100; percent++)
        {
            RemovalPlan plan = filters.Smallest(percent / 100.0);
            if (plan.Count > 0 && graph.MultiplyAdds(plan) <= share * graph.MultiplyAdds()) return percent / 100.0;
        }
        throw new EspalierException(FormattableString.Invariant($"no share of filters reaches {share} of the multiply-adds; ")
            + "allow narrower layers, more layers, or ask for less");
    }
}

internal static class SoftFilterRegistration
{
    [ModuleInitializer]
    internal static void Register() => CompressionMethods.Add(new SoftFilterPruning());
}
