using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression;

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
