using System.Globalization;
using Espalier.Formats;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.StochasticDepth;

/// <summary>
/// Stochastic Depth (Huang et al., ECCV 2016, arXiv 1603.09382): training leaves residual branches out at random; inference runs
/// them all, times the probability with which they ran. The training makes a network bear the loss of blocks, so those that it
/// misses least are then removed for good.
/// </summary>
public sealed record StochasticDepth : CompressionMethod
{
    private const string ByTarget = "target";

    private static readonly MethodSettings<StochasticDepth> Known = new()
    {
        // A branch that never runs would be better removed.
        { "survival", m => m.Survival, (m, x) => m with { Survival = x }, 0.01, 1.0,
            "probability that the last block runs in a step, in (0, 1]; the paper has 0.5 for 110 layers" },
        { "rule", m => m.Rule, (m, x) => m with { Rule = x },
            "of the others: linear falls from 1 before the first block, ramp from 1 at it, uniform stays" },
        { "granularity", m => m.PerSample, (m, x) => m with { PerSample = x },
            "batch: a draw for each step saves time; sample: one for each image", "batch", "sample" },
        { "scaling", m => m.Inverted, (m, x) => m with { Inverted = x },
            "inference multiplies branches by their probability; inverted divides in training instead", "inference", "inverted" },
        { "freeze-skipped", m => m.FreezeSkipped, (m, x) => m with { FreezeSkipped = x },
            "yes: weights that had no part in a step stay; no: momentum and decay go on" },
        { "remove", m => m.Remove?.ToString(CultureInfo.InvariantCulture) ?? ByTarget, WithRemove,
            "how many blocks go: a number, 0 for none, or target for what --target-flops or --ratio says",
            "a number of blocks, or target", nameof(Remove) },
        { "criterion", m => m.ByScale, (m, x) => m with { ByScale = x },
            "what a block is worth: loss without it, or scale of its last batch norm", "loss", "scale" },
    };

    /// <inheritdoc/>
    public override string Name => "stochastic-depth";

    /// <inheritdoc/>
    public override string Purpose => "leaves residual blocks out at random in training, then removes those missed least";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <inheritdoc/>
    public override bool Removes => Remove != 0;

    /// <summary>Probability that the last block runs in a step, in (0, 1]; the paper has 0.5 for 110 layers.</summary>
    public double Survival { get; init; } = 0.8;

    /// <summary>The probabilities of the other blocks.</summary>
    public SurvivalRule Rule { get; init; }

    /// <summary>Whether each image draws for itself, so that all branches run; else one draw is for a whole step.</summary>
    public bool PerSample { get; init; }

    /// <summary>Whether branches are divided by their probability in training, in place of multiplied in inference.</summary>
    public bool Inverted { get; init; }

    /// <summary>
    /// Whether weights of a branch that did not run have no gradient, so that no optimiser touches them; else their gradient is
    /// 0, and momentum and weight decay go on.
    /// </summary>
    public bool FreezeSkipped { get; init; }

    /// <summary>How many blocks go; null for as many as the target asks for, where a ratio is a share of the blocks.</summary>
    public int? Remove { get; init; }

    /// <summary>Whether a block is worth the scale of its last batch norm; else by how much the loss rises without it.</summary>
    public bool ByScale { get; init; }

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        if (!Removes)
        {
            if (TrainSteps == 0) throw new EspalierException("nothing to do: set TrainSteps, or let blocks be removed");
            Train(job);
            job.Train("fine-tune", FineTuneSteps);
            return;
        }
        SelectionOptions target = job.InMilliseconds(Selection);
        BlockSelection blocks = Blocks(job.Model.Graph, target);
        Train(job);
        for (int round = 1; round <= Rounds; round++)
        {
            RemoveBlocks(job, target, blocks, round);
            job.Train(Stage("fine-tune", round), Share(FineTuneSteps, round));
        }
        if (job.Removals.Count == 0) throw new EspalierException("nothing would be removed: no block is within the target");
    }

    private BlockSelection Blocks(Graph graph, SelectionOptions target)
    {
        var candidates = BlockRemoval.Candidates(graph, Selection.Keep);
        return new BlockSelection(Remove, target, candidates.Count, graph.CostPerImage.MultiplyAdds,
            ResidualBranch.Without(graph, candidates).CostPerImage.MultiplyAdds);
    }

    /// <summary>Trains with random depth, and folds the factors of inference into the weights.</summary>
    private void Train(CompressionJob job)
    {
        if (TrainSteps == 0) return;
        using var depth = new RandomDepth(job.Model.Graph, this);
        double[] survival = depth.Survival;
        job.Log(string.Create(CultureInfo.InvariantCulture,
            $"random depth: on average {survival.Sum():0.##} of {survival.Length} blocks run in a step, "
                + $"the first with probability {survival[0]:0.###}, the last with {survival[^1]:0.###}"));
        job.Train("random depth", TrainSteps, depth);
        depth.Fold();
    }

    private void RemoveBlocks(CompressionJob job, SelectionOptions target, BlockSelection selection, int round)
    {
        using var scope = new Scope();
        Graph graph = job.Model.Graph;
        // Earlier rounds may have taken all that there were.
        if (round > 1 && !ResidualBranch.Find(graph).Any(b => b.HasIdentityShortcut)) return;
        var candidates = BlockRemoval.Candidates(graph, Selection.Keep);
        Tensor image = job.Example(target.TimeBatch);
        double[] scores = ByScale ? BlockRemoval.Scales(graph, candidates) : BlockRemoval.LossIncreases(job, candidates);
        int[] order = [.. Enumerable.Range(0, scores.Length).OrderBy(i => scores[i]).ThenBy(i => i)];
        job.Log((ByScale ? "scale of each block: " : "rise of the loss without each block: ") + string.Join(", ",
            order.Select(i => string.Create(CultureInfo.InvariantCulture, $"{candidates[i].Name} {scores[i]:0.####}"))));
        int count = Kept(round, () => selection.Count(end => Schedule.Left(end, round, Rounds), [.. order.Select(i => scores[i])], Cost));
        if (count <= 0) return;
        ResidualBranch[] gone = [.. order.Take(count).Select(i => candidates[i])];
        job.Removed($"{count} blocks ({string.Join(", ", gone.Select(b => b.Name))})",
            BlockRemoval.Apply(job.Model, gone, job.Example(4)));

        double Cost(int without)
        {
            Graph smaller = ResidualBranch.Without(graph, order.Take(without).Select(i => candidates[i]));
            return target.TargetLatency is null ? smaller.CostPerImage.MultiplyAdds : Latency.Of(smaller, image);
        }
    }

    /// <summary>Times differ from run to run: what was chosen by them before an interruption stays chosen.</summary>
    private int Kept(int round, Func<int> choose)
    {
        if (!Selection.IsTimed || Training.OutputDir is not { } folder) return choose();
        string path = Path.Combine(folder, FormattableString.Invariant($"{round}-blocks-{CompressionJob.Asked(Selection)}.txt"));
        if (Training.Resume && File.Exists(path)
            && int.TryParse(File.ReadAllText(path), NumberStyles.None, CultureInfo.InvariantCulture, out int kept))
        {
            return kept;
        }
        int count = choose();
        Directory.CreateDirectory(folder);
        AtomicFile.WriteText(path, count.ToString(CultureInfo.InvariantCulture));
        return count;
    }

    private static StochasticDepth? WithRemove(StochasticDepth method, string text) =>
        text == ByTarget ? method with { Remove = null }
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int blocks) ? method with { Remove = blocks }
        : null;
}
