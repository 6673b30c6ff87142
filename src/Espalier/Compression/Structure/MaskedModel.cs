using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>What a masked channel is.</summary>
public enum MaskKind
{
    /// <summary>Zero before the non-linearity: the weights, biases and norms that make it are zero.</summary>
    Zero,

    /// <summary>
    /// The constant that is left when the weights that make it are zero: beta - gamma·mean / sqrt(variance + eps) after a batch
    /// norm, the bias without one.
    /// </summary>
    Constant,
}

/// <summary>
/// A network whose planned channels are masked, at full size, until this is disposed: what the network after the removal must
/// equal. A channel that no weight makes (one that a list of channels picks) is masked where it is read.
/// </summary>
public sealed class MaskedModel : IDisposable
{
    private readonly SwappedTensors swapped = new();
    private readonly HashSet<Tensor> copied = [];

    public MaskedModel(DependencyGraph graph, RemovalPlan plan, MaskKind kind = MaskKind.Zero) : this(Masked(graph, plan), kind) { }

    internal MaskedModel(IEnumerable<(ChannelGroup Group, int[] Channels)> masked, MaskKind kind)
    {
        foreach (var (group, channels) in masked)
        {
            GroupSlice[] makers = [.. group.Slices.Where(s => Makes(s.Role, kind))];
            if (makers.Length == 0) makers = [.. group.Of(ChannelRole.Consumer)];
            foreach (GroupSlice slice in makers)
            {
                if (copied.Add(slice.Tensor)) swapped.PutCopy(slice.Tensor);
                PlannedCuts.Zero(slice.Tensor, slice.Axis, channels.SelectMany(c => slice.Entries[c]));
            }
        }
    }

    public void Dispose() => swapped.Dispose();

    private static IEnumerable<(ChannelGroup Group, int[] Channels)> Masked(DependencyGraph graph, RemovalPlan plan)
    {
        plan.Check(graph);
        return plan.Channels.Select(c => (graph[c.Key], c.Value));
    }

    /// <summary>Whether entries of a role are zero where their channel is masked.</summary>
    internal static bool Makes(ChannelRole role, MaskKind kind) => role switch
    {
        ChannelRole.Producer or ChannelRole.Depthwise => true,
        ChannelRole.Bias or ChannelRole.Scale or ChannelRole.NormShift or ChannelRole.Shift => kind == MaskKind.Zero,
        _ => false,
    };
}
