namespace Espalier.Compression;

/// <summary>
/// The common shape of one-shot and iterative pruning: score channels, remove the least important, fine-tune; again for as many
/// rounds as asked. A method says how channels are scored.
/// </summary>
public abstract class ImportanceMethod : ICompressionMethod
{
    /// <inheritdoc/>
    public abstract string Name { get; }

    /// <inheritdoc/>
    public abstract string Purpose { get; }

    /// <inheritdoc/>
    public virtual IReadOnlyList<MethodSetting> Settings => [];

    /// <inheritdoc/>
    public void Run(CompressionJob job)
    {
        CompressionOptions o = Options(job);
        for (int round = 1; round <= o.Rounds; round++)
        {
            using (DependencyGraph graph = job.Graph())
            {
                SelectionOptions selection = o.Selection.Checked().Round(o.Schedule, round, o.Rounds);
                ChannelScores scores = Score(job, graph, selection.Candidates(graph));
                RemovalPlan plan = job.Select(graph, scores, selection, orNone: round > 1);
                if (plan.Count > 0) job.Remove(graph, plan);
            }
            job.Train(o.Stage("fine-tune", round), o.Share(o.FineTuneSteps, round));
        }
    }

    /// <summary>The job's options; a method may have a say in its rounds.</summary>
    private protected virtual CompressionOptions Options(CompressionJob job) => job.Options;

    /// <summary>The importance of each channel of these groups.</summary>
    public abstract ChannelScores Score(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> groups);
}
