using System.Globalization;
using System.Runtime.CompilerServices;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Stochastic Depth (Huang et al., ECCV 2016, arXiv 1603.09382): training leaves residual branches out at random; inference runs
/// them all, times the probability with which they ran. The training makes a network bear the loss of blocks, so those that it
/// misses least are then removed for good.
/// </summary>
public sealed class StochasticDepth : ICompressionMethod
{
    /// <inheritdoc/>
    public string Name => "stochastic-depth";

    /// <inheritdoc/>
    public string Purpose => "leaves residual blocks out at random in training, then removes those missed least";

    /// <inheritdoc/>
    public IReadOnlyList<MethodSetting> Settings =>
    [
        new("survival", "0.8", "probability that the last block runs in a step, in (0, 1]; the paper has 0.5 for 110 layers"),
        new("rule", "linear", "of the others: linear falls from 1 before the first block, ramp from 1 at it, uniform stays"),
        new("granularity", "batch", "batch: a draw for each step saves time; sample: one for each image"),
        new("scaling", "inference", "inference multiplies branches by their probability; inverted divides in training instead"),
        new("freeze-skipped", "no", "yes: weights that had no part in a step stay; no: momentum and decay go on"),
        new("remove", "target", "how many blocks go: a number, 0 for none, or target for what --target-flops or --ratio says"),
        new("criterion", "loss", "what a block is worth: loss without it, or scale of its last batch norm"),
    ];

    /// <inheritdoc/>
    public bool Removes(CompressionOptions options) => Remove(options) != 0;

    /// <inheritdoc/>
    public void Run(CompressionJob job)
    {
        CompressionOptions o = job.Options;
        if (job.Net is not Cnn net) throw new EspalierException($"{Name} works on convolutional networks only");
        RandomDepthOptions random = Random(o);
        int? remove = Remove(o);
        bool byLoss = o.Word("criterion", "loss", "scale") == "loss";
        if (remove == 0)
        {
            if (o.TrainSteps == 0) throw new EspalierException("nothing to do: say --train-steps, or let blocks be removed");
            Train(job, net, random);
            job.Train("fine-tune", o.FineTuneSteps);
            return;
        }
        BlockSelection selection = Selection(job, net, remove);
        Train(job, net, random);
        for (int round = 1; round <= o.Rounds; round++)
        {
            int now = round;
            RemoveBlocks(job, net, selection, end => o.Schedule.Left(end, now, o.Rounds), byLoss);
            job.Train(o.Stage("fine-tune", round), o.Share(o.FineTuneSteps, round));
        }
        if (job.Removals.Count == 0) throw new EspalierException("nothing would be removed: no block is within the target");
    }

    private static BlockSelection Selection(CompressionJob job, Cnn net, int? remove)
    {
        using var scope = new Scope();
        Tensor image = job.Example(1);
        var candidates = BlockRemoval.Candidates(net, job.Options.Selection.Keep);
        return new BlockSelection(remove, job.Options.Selection, candidates.Count, BlockRemoval.MultiplyAdds(net, image),
            BlockRemoval.MultiplyAdds(net, image, candidates.Select(c => c.Block)));
    }

    /// <summary>Trains with random depth, and folds the factors of inference into the weights.</summary>
    private static void Train(CompressionJob job, Cnn net, RandomDepthOptions options)
    {
        if (job.Options.TrainSteps == 0) return;
        using var depth = new RandomDepth(net, options);
        double[] survival = [.. depth.Gates.Select(g => g.Gate.Survival)];
        job.Log(string.Create(CultureInfo.InvariantCulture,
            $"random depth: on average {survival.Sum():0.##} of {survival.Length} blocks run in a step, "
                + $"the first with probability {survival[0]:0.###}, the last with {survival[^1]:0.###}"));
        job.Train("random depth", job.Options.TrainSteps, depth);
        using var scope = new Scope();
        BranchEnds.Fold(net, job.Example(1), depth.Gates);
    }

    private static void RemoveBlocks(CompressionJob job, Cnn net, BlockSelection selection, Func<double, double> left,
        bool byLoss)
    {
        using var scope = new Scope();
        var candidates = BlockRemoval.Candidates(net, job.Options.Selection.Keep);
        ResidualBlock[] blocks = [.. candidates.Select(c => c.Block)];
        Tensor image = job.Example(1);
        double[] scores = byLoss
            ? BlockRemoval.LossIncreases(net, blocks, job.RankingBatches()) : BlockRemoval.Scales(net, blocks, image);
        int[] order = [.. Enumerable.Range(0, scores.Length).OrderBy(i => scores[i]).ThenBy(i => i)];
        job.Log((byLoss ? "rise of the loss without each block: " : "scale of each block: ") + string.Join(", ",
            order.Select(i => string.Create(CultureInfo.InvariantCulture, $"{candidates[i].Name} {scores[i]:0.####}"))));
        int count = selection.Count(left, [.. order.Select(i => scores[i])], Cost);
        if (count <= 0) return;
        string[] names = [.. order.Take(count).Select(i => candidates[i].Name)];
        job.Removed($"{count} blocks ({string.Join(", ", names)})", BlockRemoval.Apply(net, names, job.Example(4)));

        double Cost(int without)
        {
            using BlockGates gates = BlockGates.LeaveOut(order.Take(without).Select(i => blocks[i]));
            return job.Options.Selection.TargetLatency is null ? BlockRemoval.MultiplyAdds(net, image) : Latency.Of(net, image);
        }
    }

    private static RandomDepthOptions Random(CompressionOptions o) => new(
        o.Word("rule", "linear", "uniform", "ramp") switch
        {
            "uniform" => SurvivalRule.Uniform,
            "ramp" => SurvivalRule.Ramp,
            _ => SurvivalRule.Linear,
        },
        // A branch that never runs would be better removed.
        o.Number("survival", 0.8, 0.01, 1),
        PerSample: o.Word("granularity", "batch", "sample") == "sample",
        Inverted: o.Word("scaling", "inference", "inverted") == "inverted",
        FreezeSkipped: o.Word("freeze-skipped", "no", "yes") == "yes");

    private static int? Remove(CompressionOptions o)
    {
        string text = o.Settings.GetValueOrDefault("remove", "target");
        if (text == "target") return null;
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number
            : throw new EspalierException($"--set remove={text}: it is a number of blocks, or target");
    }
}

internal static class StochasticDepthRegistration
{
    [ModuleInitializer]
    internal static void Register() => CompressionMethods.Add(new StochasticDepth());
}
