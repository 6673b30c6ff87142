using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>What a network has been through that not every method can go on from. It is read from its graph, wherever it comes
/// from.</summary>
[Flags]
public enum NetworkTraits
{
    None = 0,

    /// <summary>Rows of tokens are dropped, by something else than agents.</summary>
    DropsTokens = 1,

    /// <summary>Agents drop tokens by a threshold.</summary>
    HasAgents = 2,

    /// <summary>Rows of tokens are merged.</summary>
    MergesTokens = 4,

    /// <summary>Blocks attend from other tokens than to.</summary>
    FewerQueries = 8,

    /// <summary>Values or weights are rounded to few bits.</summary>
    FewBits = 16,

    /// <summary>Convolutions work on the whole grid of an image's tokens.</summary>
    ConvolvesTokens = 32,

    /// <summary>So many tokens stay as a rule says, the best of each image, by something else than agents.</summary>
    RanksTokens = 64,
}

/// <summary>What a method cannot follow.</summary>
/// <param name="Traits">Any of them.</param>
/// <param name="Reason">The end of the sentence "it cannot follow that, as ...".</param>
public sealed record Refusal(NetworkTraits Traits, string Reason);

/// <summary>
/// In which order methods can come. Each says by <see cref="CompressionMethod.Refuses"/> what it cannot follow and by
/// <see cref="CompressionMethod.Leaves"/> what it leaves; what is impossible is refused with the reason before anything is done.
/// </summary>
public static class CompressionOrder
{
    /// <summary>Of methods that need float weights.</summary>
    internal static readonly Refusal FewBits = new(NetworkTraits.FewBits, "it needs the weights as they were before rounding");

    /// <summary>Of all that shortens rows.</summary>
    internal static readonly Refusal Grid = new(NetworkTraits.ConvolvesTokens, "no token of the grid may go");

    private static readonly NetworkTraits[] All = [.. Enum.GetValues<NetworkTraits>().Where(t => t != NetworkTraits.None)];

    /// <summary>What a network has been through.</summary>
    public static NetworkTraits TraitsOf(Graph graph) =>
        All.Where(t => Shows(graph, t) is not null).Aggregate(NetworkTraits.None, (sum, t) => sum | t);

    /// <summary>Whether methods can come in this order, none of them having been run.</summary>
    /// <exception cref="EspalierException">One cannot follow another; the message says which, and why.</exception>
    public static void Check(params IReadOnlyList<CompressionMethod> methods)
    {
        for (int later = 1; later < methods.Count; later++)
        {
            for (int earlier = 0; earlier < later; earlier++)
            {
                CompressionMethod first = methods[earlier], then = methods[later];
                if (Reason(then, first.Leaves) is { } refusal)
                    throw new EspalierException($"{then.Name} cannot follow {first.Name}, whose network {Words(first.Leaves & refusal.Traits)}, "
                        + $"as {refusal.Reason}");
            }
        }
    }

    /// <summary>Whether a method can go on from a network.</summary>
    /// <exception cref="EspalierException">It cannot; the message says at which node, and why.</exception>
    public static void Check(CompressionMethod method, Graph graph) => Check(method.Name, method.Refuses, graph);

    /// <summary>The same of anything that changes networks.</summary>
    /// <param name="name">What errors call it.</param>
    internal static void Check(string name, IReadOnlyList<Refusal> refuses, Graph graph)
    {
        foreach (Refusal refusal in refuses)
            foreach (NetworkTraits trait in All.Where(t => refusal.Traits.HasFlag(t)))
                if (Shows(graph, trait) is { } node)
                    throw new EspalierException($"{name}: the network {Words(trait)} already ('{node.Name}'), and {name} "
                        + $"cannot follow that, as {refusal.Reason}");
    }

    /// <summary>The methods that cannot follow one.</summary>
    public static IReadOnlyList<CompressionMethod> CannotFollow(CompressionMethod first) =>
        [.. CompressionMethods.All.Where(m => Reason(m, first.Leaves) is not null)];

    private static Refusal? Reason(CompressionMethod then, NetworkTraits left) =>
        then.Refuses.FirstOrDefault(r => (r.Traits & left) != 0);

    private static string Words(NetworkTraits traits) => string.Join(" and ", All.Where(t => traits.HasFlag(t)).Select(t => t switch
    {
        NetworkTraits.DropsTokens => "drops tokens",
        NetworkTraits.HasAgents => "has agents that drop tokens",
        NetworkTraits.MergesTokens => "merges tokens",
        NetworkTraits.FewerQueries => "attends from other tokens than to",
        NetworkTraits.ConvolvesTokens => "has convolutions on the whole grid of its tokens",
        NetworkTraits.RanksTokens => "keeps the best tokens of each image",
        _ => "has values or weights of few bits",
    }));

    /// <summary>A node by which a trait is seen; null where the network does not have it.</summary>
    private static GraphNode? Shows(Graph graph, NetworkTraits trait)
    {
        return trait switch
        {
            NetworkTraits.DropsTokens => Nodes(n => n.Op is KeepRowsOp && IsNoAgents(n)),
            NetworkTraits.HasAgents => TokenAgent.Find(graph).FirstOrDefault().Keep,
            NetworkTraits.MergesTokens => Nodes(n => n.Op is MergeRowsOp),
            NetworkTraits.FewerQueries => Nodes(n => n.Op is AttentionOp && Norm(n.Operands[0]) != Norm(n.Operands[1])),
            NetworkTraits.ConvolvesTokens => Nodes(n => n.Op is RowsToMapsOp),
            NetworkTraits.RanksTokens => Nodes(n => n.Op is KeepRowsOp { Rule.By: KeepBy.Share or KeepBy.Count } && IsNoAgents(n)),
            _ => Nodes(n => n.Op is QuantiseOp or CodeBookOp),
        };

        GraphNode? Nodes(Func<GraphNode, bool> which) => graph.Nodes.FirstOrDefault(which);

        bool IsNoAgents(GraphNode node) => TokenAgent.Find(graph).All(a => a.Keep != node);
    }

    /// <summary>The norm in front of queries or keys, or what is first of all.</summary>
    private static GraphNode? Norm(GraphValue? value)
    {
        // A norm of each head's queries or keys is not the block's.
        while (value?.Producer is { } node && (node.Op is not LayerNormOp || node.Output.Shape.Rank == 3))
            value = node.Inputs.FirstOrDefault(x => !x.IsWeight);
        return value?.Producer;
    }
}
