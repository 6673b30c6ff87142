using System.Globalization;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.StochasticDepth;

/// <summary>Residual blocks that could go: what they are worth, and their removal with its check.</summary>
internal static class BlockRemoval
{
    /// <summary>Every block that a network can do without: those with an identity for a shortcut.</summary>
    /// <param name="keep">Blocks to leave alone, as name patterns with * and ?.</param>
    /// <exception cref="EspalierException">A pattern matches no block, or there is no such block.</exception>
    public static IReadOnlyList<ResidualBranch> Candidates(Graph graph, IReadOnlyList<string> keep)
    {
        ResidualBranch[] blocks = [.. ResidualBranch.Find(graph).Where(b => b.HasIdentityShortcut)];
        foreach (string pattern in keep)
        {
            if (!blocks.Any(b => SelectionOptions.Matches(b.Name, pattern)))
                throw new EspalierException($"no block that could be removed matches '{pattern}'; there are "
                    + (blocks.Length == 0 ? "none" : string.Join(", ", blocks.Select(b => b.Name))));
        }
        blocks = [.. blocks.Where(b => !keep.Any(pattern => SelectionOptions.Matches(b.Name, pattern)))];
        return blocks.Length > 0 ? blocks : throw new EspalierException(
            "the model has no residual blocks that could be removed: none has an identity for a shortcut");
    }

    /// <summary>By how much the mean loss of the ranking batches rises when each block is left out.</summary>
    public static double[] LossIncreases(CompressionJob job, IReadOnlyList<ResidualBranch> blocks)
    {
        Graph graph = job.Model.Graph;
        double[] losses = job.RankingLoss([graph, .. blocks.Select(b => ResidualBranch.Without(graph, b))]);
        return [.. losses.Skip(1).Select(loss => loss - losses[0])];
    }

    /// <summary>Euclidean norms of what the branches end with: the scales of their last norms, or the last weights.</summary>
    public static double[] Scales(Graph graph, IReadOnlyList<ResidualBranch> blocks) =>
        [.. blocks.Select(b => Math.Sqrt(BranchEnds.Of(graph, b)[0].Span.ToArray().Sum(x => (double)x * x)))];

    /// <summary>
    /// Removes blocks for good, and compares the result with the network in which their branches are left out.
    /// </summary>
    /// <param name="images">To compare on: [N, C, S, S].</param>
    public static RemovalReport Apply(Model model, IReadOnlyList<ResidualBranch> blocks, Tensor images)
    {
        Graph graph = model.Graph;
        long parameters = model.ParameterCount, multiplyAdds = graph.CostPerImage.MultiplyAdds;
        float[] masked;
        using (new Scope()) masked = ResidualBranch.Without(graph, blocks).Run(images).ToArray();
        using var edit = new GraphEdit(graph);
        foreach (ResidualBranch block in blocks) edit.Take(block.Sum, block.ShortcutOf(block.Sum));
        float difference = edit.Commit(images, masked);
        return new RemovalReport(PlanSummary.OfSizes(parameters, multiplyAdds, model), difference, []);
    }
}

/// <summary>
/// How many residual blocks go: a number of them, or what the target of a <see cref="SelectionOptions"/> asks for, where a ratio
/// is the share of the blocks that could go.
/// </summary>
internal sealed class BlockSelection
{
    private readonly int? remove;
    private readonly SelectionOptions target;
    private readonly int blocks;
    private readonly long multiplyAdds;

    /// <param name="remove">Number of blocks; null to go by <paramref name="target"/>.</param>
    /// <param name="blocks">How many could go, before the first round.</param>
    /// <param name="multiplyAdds">Of the network before the first round.</param>
    /// <param name="least">Of the network without all blocks that could go.</param>
    /// <exception cref="EspalierException">It cannot be done.</exception>
    public BlockSelection(int? remove, SelectionOptions target, int blocks, long multiplyAdds, long least)
    {
        (this.remove, this.target, this.blocks, this.multiplyAdds) = (remove, target.Checked(), blocks, multiplyAdds);
        if (remove > blocks)
            throw new EspalierException($"{remove} blocks cannot be removed: the network could do without only {blocks}");
        if (remove is not null) return;
        if (target.Ratio is not null && target.Ratio.OfAll is null)
            throw new EspalierException($"blocks go by one ratio, not by {target.Ratio}; leave layers alone with Keep");
        if (target.Ratio?.OfAll * blocks + 1e-9 < 1)
            throw new EspalierException(string.Create(CultureInfo.InvariantCulture,
                $"nothing would be removed: {target.Ratio} of the {blocks} blocks that could go is less than one; ask for more"));
        if (target.TargetFlops * multiplyAdds < least)
            throw Unreachable(target.TargetFlops!.Value, (double)least / multiplyAdds, "of the multiply-adds");
    }

    /// <summary>How many of the blocks that are left go now.</summary>
    /// <param name="left">The share that is to be left now, from the share that is left in the end.</param>
    /// <param name="scores">Of the blocks that are left, rising.</param>
    /// <param name="cost">Multiply-adds, or milliseconds for a target of those, without the first so many of them.</param>
    /// <exception cref="EspalierException">Not even all of them reach the target.</exception>
    public int Count(Func<double, double> left, IReadOnlyList<double> scores, Func<int, double> cost)
    {
        int gone = blocks - scores.Count;
        if (remove is { } number) return Due(number) - gone;
        if (target.Ratio?.OfAll is { } ratio) return Due(ratio * blocks) - gone;
        if (target.Threshold is { } threshold) return scores.Count(s => s <= threshold);
        if (target.TargetFlops is { } share)
            return Fewest(scores.Count, k => cost(k) / multiplyAdds, left(share), "of the multiply-adds");
        return Fewest(scores.Count, cost, target.TargetLatency!.Value, "ms");

        int Due(double all) => (int)Math.Floor(blocks * (1 - left(1 - all / blocks)) + 1e-9);
    }

    private static int Fewest(int all, Func<int, double> cost, double goal, string unit)
    {
        double least = cost(all);
        if (least > goal) throw Unreachable(goal, least, unit);
        int low = 0, high = all;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (cost(middle) <= goal) high = middle;
            else low = middle + 1;
        }
        return low;
    }

    private static EspalierException Unreachable(double goal, double least, string unit) =>
        new(string.Create(CultureInfo.InvariantCulture,
            $"removing blocks does not reach {goal:0.###} {unit}: without all that could go it is {least:0.###}; ")
            + "ask for less, or remove channels as well");
}

/// <summary>
/// What a residual branch ends with: the scale and shift of the last norm, a scale of each channel, or the weight and bias of the
/// last layer where none of these follows it. A branch is proportional to them together.
/// </summary>
internal static class BranchEnds
{
    /// <exception cref="EspalierException">The branch ends in some other way.</exception>
    public static IReadOnlyList<Tensor> Of(Graph graph, ResidualBranch branch)
    {
        GraphValue[] shift = [.. branch.Summands.Skip(1)];
        GraphValue value = branch.Branch;
        while (value.Producer is { } node)
        {
            GraphValue?[] ends = node.Op switch
            {
                BatchNorm2dOp or LayerNormOp or GroupNormOp => [node.Operands[1], node.Operands[2]],
                Conv2dOp or LinearOp { Gelu: false, Residual: null } => [node.Operands[1], node.Operands[2]],
                // Layer scale.
                MulOp when node.Inputs.FirstOrDefault(x => x.IsWeight) is { } scale => [scale],
                // The largest of scaled values is the largest, scaled.
                MaxPool2dOp or AvgPool2dOp or DropoutOp => [],
                _ => throw new EspalierException($"the residual branch {branch.Name} ends with {node.Op.Name}, not with a norm, "
                    + "a convolution or a linear layer"),
            };
            if (ends.Length > 0)
            {
                GraphValue[] all = [.. ends.Concat(shift).OfType<GraphValue>()];
                if (!all.All(w => w.IsWeight))
                    throw new EspalierException($"what the residual branch {branch.Name} ends with is no weight");
                return [.. all.Select(w => w.Tensor)];
            }
            value = node.Operands[0]!;
        }
        throw new EspalierException($"the residual branch {branch.Name} computes nothing");
    }
}
