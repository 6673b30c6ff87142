using Espalier.Data;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression;

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
