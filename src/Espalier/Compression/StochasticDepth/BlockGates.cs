using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression;

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
