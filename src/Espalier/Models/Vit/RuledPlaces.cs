using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// Where a rule is for that is given by hand, such as another threshold: where agents drop rows. All other places keep their own
/// rules. In a network without agents it is for every place that drops rows.
/// </summary>
internal sealed class RuledPlaces
{
    private readonly HashSet<GraphNode> nodes;

    public RuledPlaces(Graph graph)
    {
        GraphNode[] all = [.. graph.Nodes.Where(n => n.Op is KeepRowsOp)];
        // By the name alone: weights of agents that were split in two have other names.
        GraphNode[] agents = [.. all.Where(n => n.Name.StartsWith(TokenAgent.Prefix, StringComparison.Ordinal))];
        nodes = [.. agents.Length > 0 ? agents : all];
        Own = agents.Length > 0 ? [] : [.. all.Select(n => ((KeepRowsOp)n.Op).Rule)];
    }

    /// <summary>The network's own rules where it has no agents; none where it has.</summary>
    public KeepRule[] Own { get; }

    public bool Contains(GraphNode node) => nodes.Contains(node);

    /// <summary>Whether a rule can take the place of the network's own, or of some of them.</summary>
    /// <param name="own">As in <see cref="Own"/>.</param>
    /// <exception cref="EspalierException">There are no agents, and the network's own rules are of another kind.</exception>
    public static void Check(KeepRule rule, KeepRule[] own)
    {
        if (own.Length == 0 || own.Contains(rule) || own.Any(o => Fits(rule, o))) return;
        throw new EspalierException("the network has no agents: it drops tokens by rules of its own, which no threshold or share that is "
            + "given takes the place of; leave it out");
    }

    /// <summary>A limit of agents' scores, which are not above 0, says nothing of shares of attention; and a list has no scores.
    /// </summary>
    private static bool Fits(KeepRule rule, KeepRule own) => rule.By == KeepBy.All || own.By == KeepBy.All
        || (rule.By == KeepBy.Limit ? own is { By: KeepBy.Limit, Limit: <= 0 } : own.By != KeepBy.Tokens);
}
