namespace Espalier.Compression;

/// <summary>
/// The common shape of one-shot and iterative pruning: score channels, remove the least important, fine-tune; again for as many
/// rounds as asked. A method says how channels are scored.
/// </summary>
public abstract record ImportanceMethod : CompressionMethod
{
    /// <inheritdoc/>
    public sealed override void Run(CompressionJob job)
    {
        ImportanceMethod o = For(job);
        for (int round = 1; round <= o.Rounds; round++)
        {
            using (DependencyGraph graph = job.Graph())
            {
                SelectionOptions selection = o.Selection.Checked().Round(o.Schedule, round, o.Rounds, job.WorkLeft(graph));
                ChannelScores scores = Score(job, graph, selection.Candidates(graph));
                RemovalPlan plan = job.Select(graph, scores, selection, orNone: round > 1);
                if (plan.Count > 0) job.Remove(graph, plan);
            }
            job.Train(o.Stage("fine-tune", round), o.Share(o.FineTuneSteps, round));
        }
    }

    /// <summary>The importance of each channel of these groups.</summary>
    public abstract ChannelScores Score(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> groups);

    /// <summary>This method for the job's network, whose size may have a say in the number of rounds.</summary>
    private protected virtual ImportanceMethod For(CompressionJob job) => this;
}
