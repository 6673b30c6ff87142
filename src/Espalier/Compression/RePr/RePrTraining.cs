using System.Runtime.CompilerServices;

namespace Espalier.Compression;

/// <summary>
/// RePr (Prakash et al., CVPR 2019, arXiv 1811.07275): in training the filters that overlap most with others of their layer are
/// dropped for a while and come back with orthogonal weights, again and again. A way to train; stopped while filters are away it
/// prunes.
/// </summary>
public sealed class RePrTraining : ICompressionMethod
{
    /// <inheritdoc/>
    public string Name => "repr";

    /// <inheritdoc/>
    public string Purpose => "drops overlapping filters, which come back orthogonal, while training; removes the last ones";

    /// <inheritdoc/>
    public IReadOnlyList<MethodSetting> Settings => ReprOptions.Settings;

    /// <inheritdoc/>
    public bool Removes(CompressionOptions options) => ReprOptions.EndsThin(options);

    /// <inheritdoc/>
    public void Run(CompressionJob job)
    {
        CompressionOptions o = job.Options;
        ReprOptions options = ReprOptions.Of(o);
        using DependencyGraph graph = job.Graph();
        SelectionOptions selection = o.Selection.Checked();
        if (selection.Threshold is not null && options.EndThin)
            throw new EspalierException("RePr takes a ratio, or a target of multiply-adds or latency, not a threshold");
        IReadOnlyList<ChannelGroup> layers = ReprLayers.Find(graph, selection, options.Branches, options.ExcludeFirst);
        RemovalPlan? plan = null;
        var probe = new ReprProbe(job);
        job.Train("repr", o.TrainSteps, new ReprHook(options, Choose, probe, o.Seed));
        // Filters have been held at zero, constants included: nothing is left that could be moved.
        if (options.EndThin)
            job.Remove(graph, plan ?? Final(job, graph, layers, options), new RemovalOptions(MoveConstants: false));
        else probe.Report(o.TrainSteps, going: null);
        job.Train("fine-tune", o.FineTuneSteps);

        IReadOnlyList<(ChannelGroup, int[])> Choose(bool last)
        {
            if (!last || !options.EndThin) return Cycle(layers, options, selection);
            plan = Final(job, graph, layers, options);
            return [.. plan.Channels.Select(c => (graph[c.Key], c.Value))];
        }
    }

    /// <summary>The channels of a drop that comes back.</summary>
    private static (ChannelGroup, int[])[] Cycle(IReadOnlyList<ChannelGroup> layers, ReprOptions options,
        SelectionOptions selection)
    {
        int[][] chosen = DropRule.Choose([.. layers.Select(g => Ranked(g, options))], options.Drop, options.Global,
            count => Math.Max(DropRule.Fewest(count), selection.Fewest(count)));
        return [.. layers.Zip(chosen).Where(c => c.Second.Length > 0)];
    }

    /// <summary>The channels that are removed in the end, as many as the target asks for.</summary>
    private static RemovalPlan Final(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> layers,
        ReprOptions options)
    {
        SelectionOptions selection = job.Options.Selection;
        var scores = new ChannelScores();
        foreach (ChannelGroup group in layers) scores.Set(group, [.. Ranked(group, options).Select(o => -o)]);
        return job.Select(graph, scores, selection with
        {
            Global = options.Global, MinKeptShare = Math.Max(selection.MinKeptShare, DropRule.LeastShare),
        });
    }

    /// <summary>The largest go first.</summary>
    private static double[] Ranked(ChannelGroup group, ReprOptions options)
    {
        double[] overlap = FilterOverlap.Of(group, options.Alpha);
        return options.Reverse ? [.. overlap.Select(o => -o)] : overlap;
    }
}

internal static class RePrRegistration
{
    [ModuleInitializer]
    internal static void Register() => CompressionMethods.Add(new RePrTraining());
}
