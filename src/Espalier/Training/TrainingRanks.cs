using Espalier.Distributed;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>What the ranks of a run tell each other: where they begin, gradients, running statistics, numbers to log, and whether to
/// stop.</summary>
internal sealed class TrainingRanks
{
    private readonly IRanks ranks;
    private readonly ITrainingTask task;
    private readonly GradientSum gradients;

    public TrainingRanks(IRanks ranks, ITrainingTask task)
    {
        (this.ranks, this.task) = (ranks, task);
        gradients = new GradientSum(ranks, task.Graph.Parameters.Select(p => p.Value));
        if (task.RunsBackwardOnce) Ready = gradients.Ready;
    }

    public int Rank => ranks.Rank;

    public int Count => ranks.Count;

    /// <summary>Takes a parameter whose gradient is whole; null where that is known at the end of the step only.</summary>
    public Action<Tensor>? Ready { get; }

    /// <summary>All ranks go on from the same step, with the weights of the first.</summary>
    /// <exception cref="EspalierException">They stand at different steps or have different networks.</exception>
    public void Meet(long step)
    {
        Tensor[] weights = [.. task.Graph.Weights.Values.Select(w => w.Tensor)];
        if (!ranks.Agree(weights.Sum(w => w.Length)))
            throw new EspalierException("the processes have different networks; start all of them by one mpirun");
        if (!ranks.Agree(step))
            throw new EspalierException($"the processes stand at different steps, this one at {step}: the folder of the run must be the "
                + "same one on all machines");
        foreach (Tensor w in weights)
        {
            float[] values = Rank == 0 ? w.ToArray() : new float[w.Length];
            Wait(ranks.Sum(values.AsMemory()));
            values.CopyTo(w.Span);
        }
    }

    /// <summary>Sums over all ranks, in the place of the numbers.</summary>
    public void Sum(double[] values) => Wait(ranks.Sum(values.AsMemory()));

    /// <summary>Whether it is so on any rank.</summary>
    public bool Any(bool here) => ranks.Sum(here ? 1 : 0) > 0;

    /// <summary>After the step's last micro-batch: sums of gradients; means of running statistics, of what the task has seen, and of the
    /// numbers to log.</summary>
    /// <param name="still">Running statistics that stay as they are, to the last bit, which a mean of equals need not be; null for none.
    /// </param>
    public void Finish(Dictionary<string, double> scalars, IReadOnlySet<Tensor>? still)
    {
        gradients.Finish();
        Tensor[] statistics = [.. RunningStatistics.Of(task.Graph).Where(s => still?.Contains(s) != true)];
        if (statistics.Length > 0)
        {
            float[] values = [.. statistics.SelectMany(s => s.ToArray())];
            Wait(ranks.Sum(values.AsMemory()));
            int at = 0;
            foreach (Tensor s in statistics)
                for (int i = 0; i < s.Length; i++) s.Span[i] = values[at++] / Count;
        }
        double[] seen = task.Seen;
        if (seen.Length > 0) task.Seen = Means(seen);
        // A rank may have had nothing to say about some number; then each keeps its own, of which the first one's are written.
        string[] names = [.. scalars.Keys.Order(StringComparer.Ordinal)];
        if (!ranks.Agree(Hash(names))) return;
        double[] means = Means([.. names.Select(n => scalars[n])]);
        for (int i = 0; i < names.Length; i++) scalars[names[i]] = means[i];
    }

    private double[] Means(double[] values)
    {
        Sum(values);
        return Array.ConvertAll(values, v => v / Count);
    }

    /// <summary>A whole number of 24 bits that is the same in every process.</summary>
    private static int Hash(string[] names)
    {
        int hash = names.Length;
        foreach (char c in string.Join('\n', names)) hash = (hash * 31 + c) & 0xffffff;
        return hash;
    }

    private static void Wait(Task task) => task.GetAwaiter().GetResult();
}
