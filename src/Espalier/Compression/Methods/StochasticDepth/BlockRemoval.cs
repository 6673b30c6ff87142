using System.Globalization;
using Espalier.Data;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.StochasticDepth;

/// <summary>Residual blocks that could go: what they are worth, what they cost, and their removal with its check.</summary>
internal static class BlockRemoval
{
    /// <summary>Every block that a network can do without: those with an identity for a shortcut.</summary>
    /// <param name="keep">Blocks to leave alone, as name patterns with * and ?.</param>
    /// <exception cref="EspalierException">A pattern matches no block, or there is no such block.</exception>
    public static IReadOnlyList<(string Name, ResidualBlock Block)> Candidates(Cnn net, IReadOnlyList<string> keep)
    {
        (string Name, ResidualBlock Block)[] blocks =
            [.. net.ResidualBlocks().Where(b => b.Block is { HasIdentityShortcut: true, IsRemoved: false })];
        foreach (string pattern in keep)
        {
            if (!blocks.Any(b => SelectionOptions.Matches(b.Name, pattern)))
                throw new EspalierException($"no block that could be removed matches '{pattern}'; there are "
                    + (blocks.Length == 0 ? "none" : string.Join(", ", blocks.Select(b => b.Name))));
        }
        blocks = [.. blocks.Where(b => !keep.Any(pattern => SelectionOptions.Matches(b.Name, pattern)))];
        return blocks.Length > 0 ? blocks : throw new EspalierException(
            $"{net.Config.Network} has no residual blocks that could be removed: none has an identity for a shortcut");
    }

    /// <summary>By how much the mean loss of some batches rises when each block is left out.</summary>
    public static double[] LossIncreases(Cnn net, IReadOnlyList<ResidualBlock> blocks, IEnumerable<Batch> batches)
    {
        var sums = new double[blocks.Count];
        int images = 0;
        using var mode = new Inference(net);
        foreach (Batch batch in batches)
        {
            Tensor x = batch.ToTensor(net.Channels, net.ImageSize);
            double whole = Loss();
            for (int i = 0; i < sums.Length; i++)
            {
                using var scope = new Scope();
                using BlockGates gates = BlockGates.LeaveOut(blocks[i]);
                sums[i] += batch.Count * (Loss() - whole);
            }
            images += batch.Count;

            double Loss() => F.CrossEntropy(net.Forward(x), batch.Labels).Item();
        }
        return [.. sums.Select(s => s / Math.Max(1, images))];
    }

    /// <summary>Euclidean norms of what the branches end with: the scales of their last batch norms.</summary>
    public static double[] Scales(Cnn net, IReadOnlyList<ResidualBlock> blocks, Tensor images)
    {
        IReadOnlyDictionary<ResidualBlock, Tensor[]> ends = BranchEnds.Find(net, images);
        return [.. blocks.Select(b => Math.Sqrt(ends[b][0].ToArray().Sum(x => (double)x * x)))];
    }

    /// <summary>Multiply-adds an image of the network, without the branches of <paramref name="leftOut"/>.</summary>
    public static long MultiplyAdds(Cnn net, Tensor images, params IEnumerable<ResidualBlock> leftOut)
    {
        using var gates = BlockGates.LeaveOut(leftOut);
        return Run(net, images).MultiplyAdds;
    }

    /// <summary>
    /// Removes blocks for good, and compares the result with the network in which their branches are left out.
    /// </summary>
    /// <param name="images">To compare on: [N, C, S, S].</param>
    public static RemovalReport Apply(Cnn net, IReadOnlyList<string> names, Tensor images)
    {
        long parameters = net.ParameterCount, multiplyAdds = MultiplyAdds(net, images);
        float[] masked;
        using (BlockGates.LeaveOut(net.ResidualBlocks().Where(b => names.Contains(b.Name)).Select(b => b.Block)))
            masked = Run(net, images).Logits;
        net.RemoveBlocks(names);
        var (logits, left) = Run(net, images);
        return new RemovalReport(new PlanSummary([], [], parameters, net.ParameterCount, multiplyAdds, left),
            Removal.Difference(masked, logits), []);
    }

    private static (float[] Logits, long MultiplyAdds) Run(Cnn net, Tensor images)
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        using var mode = new Inference(net);
        float[] logits = net.Forward(images).ToArray();
        return (logits, recording.Cost.MultiplyAdds / images.Shape[0]);
    }

    /// <summary>The network at its running statistics until this is disposed.</summary>
    private readonly struct Inference : IDisposable
    {
        private readonly Cnn net;
        private readonly bool before;

        public Inference(Cnn net)
        {
            (this.net, before) = (net, net.Training);
            net.Training = false;
        }

        public void Dispose() => net.Training = before;
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
/// What residual branches end with, read from a forward pass: the scale and shift of the last batch norm, or the weight and bias
/// of the last convolution where no norm follows it. A branch is proportional to them together.
/// </summary>
internal static class BranchEnds
{
    /// <param name="images">An example, [N, C, S, S].</param>
    /// <returns>For each block that adds a branch to its shortcut, the tensors.</returns>
    /// <exception cref="EspalierException">A branch ends in some other way.</exception>
    public static IReadOnlyDictionary<ResidualBlock, Tensor[]> Find(ImageClassifier net, Tensor images)
    {
        using var scope = new Scope();
        var probe = new Probe();
        using var gates = new BlockGates();
        foreach (ResidualBlock block in net.Descendants<ResidualBlock>()) gates.Put(block, probe);
        using var recording = new Recording(gradients: false);
        bool training = net.Training;
        net.Training = false;
        try
        {
            net.Forward(images);
        }
        finally
        {
            net.Training = training;
        }
        Dictionary<Tensor, Op> makers = [];
        foreach (Op op in recording.Ops) makers[op.Output] = op;
        return probe.Branches.ToDictionary(b => b.Key, b => (Tensor[])[.. End(makers, b.Value), .. Shift(b.Key)]);
    }

    /// <summary>Multiplies branches by their gates' factors for good, so that the plain sum is what evaluation gave.</summary>
    public static void Fold(ImageClassifier net, Tensor images, IEnumerable<(ResidualBlock Block, DepthGate Gate)> gates)
    {
        IReadOnlyDictionary<ResidualBlock, Tensor[]> ends = Find(net, images);
        foreach (var (block, gate) in gates)
            foreach (Tensor tensor in ends[block])
                foreach (ref float x in tensor.Span) x *= gate.Factor;
    }

    /// <summary>What the channels emit that a branch has lost.</summary>
    private static Tensor[] Shift(ResidualBlock block) => block.Scatter is { } scatter ? [scatter.Shift] : [];

    private static Tensor[] End(Dictionary<Tensor, Op> makers, Tensor branch)
    {
        while (makers.TryGetValue(branch, out Op? op))
        {
            switch (op)
            {
                case BatchNorm2dOp: return [op.Inputs[1], op.Inputs[2]];
                case Conv2dOp conv: return conv.Bias is { } bias ? [op.Inputs[1], bias] : [op.Inputs[1]];
                // The largest of scaled values is the largest, scaled.
                case MaxPool2dOp or AvgPool2dOp: branch = op.Inputs[0]; break;
                default: throw new EspalierException(
                    $"a residual branch ends with {op.Name}, not with a batch norm or a convolution");
            }
        }
        throw new EspalierException("a residual branch computes nothing");
    }

    /// <summary>Notes what branches give, and joins them as usual.</summary>
    private sealed class Probe : IResidualGate
    {
        public Dictionary<ResidualBlock, Tensor> Branches { get; } = [];

        public Tensor Join(ResidualBlock block, Tensor x)
        {
            Tensor branch = block.Branch(x);
            Branches.Add(block, branch);
            return block.Sum(branch, block.Shortcut(x));
        }
    }
}

/// <summary>Gates on residual blocks until this is disposed.</summary>
internal sealed class BlockGates : IDisposable
{
    private readonly List<(ResidualBlock Block, IResidualGate? Before)> blocks = [];

    /// <summary>Branches of these blocks do not run: the shortcuts go on alone.</summary>
    public static BlockGates LeaveOut(params IEnumerable<ResidualBlock> blocks)
    {
        var gates = new BlockGates();
        foreach (ResidualBlock block in blocks) gates.Put(block, LeftOut.Gate);
        return gates;
    }

    public void Put(ResidualBlock block, IResidualGate gate)
    {
        blocks.Add((block, block.Gate));
        block.Gate = gate;
    }

    public void Dispose()
    {
        foreach (var (block, before) in blocks) block.Gate = before;
    }

    private sealed class LeftOut : IResidualGate
    {
        public static readonly LeftOut Gate = new();

        public Tensor Join(ResidualBlock block, Tensor x) => block.Shortcut(x);
    }
}
