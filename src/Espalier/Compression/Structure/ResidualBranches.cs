using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>A residual branch of a network: y = branch(x) + shortcut(x), found in the graph of any network.</summary>
/// <param name="Name">The layer that all weights of the branch are of, such as "layer1.0"; unique in the network.</param>
/// <param name="Sum">The node that adds them: a sum, or one by a list of channels (see <see cref="IndexAddOp"/>).</param>
/// <param name="Branch">What is added.</param>
/// <param name="Shortcut">What it is added to.</param>
/// <param name="HasIdentityShortcut">Whether the shortcut is the branch's own input, so that the branch can be left out for
/// good.</param>
/// <param name="Weights">That the branch alone reads.</param>
public sealed record ResidualBranch(string Name, GraphNode Sum, GraphValue Branch, GraphValue Shortcut, bool HasIdentityShortcut,
    IReadOnlyList<GraphValue> Weights)
{
    /// <summary>
    /// The network without some branches, as a copy that shares its weights: the shortcuts go on alone.
    /// </summary>
    public static Graph Without(Graph graph, params IEnumerable<ResidualBranch> branches)
    {
        Graph copy = graph.Copy();
        foreach (ResidualBranch branch in branches)
            if (branch.In(copy) is { } sum) copy.Redirect(sum.Output, branch.ShortcutOf(sum), _ => true);
        copy.Refresh();
        return copy;
    }

    /// <summary>The node of the same name in a copy of the graph; null where it is gone.</summary>
    internal GraphNode? In(Graph copy) => copy.Nodes.FirstOrDefault(n => n.Name == Sum.Name);

    /// <summary>What <see cref="Shortcut"/> is, now or in a copy: blocks before it may have gone.</summary>
    internal GraphValue ShortcutOf(GraphNode sum) => sum.Operands[shortcutAt]!;

    /// <summary>The same of <see cref="Branch"/>.</summary>
    internal GraphValue BranchOf(GraphNode sum) => sum.Operands[Sum.Op is IndexAddOp ? 3 : 1 - shortcutAt]!;

    // As it was found: what stands there changes where a block before it goes.
    private readonly int shortcutAt = Sum.Op is IndexAddOp || Sum.Operands[0] == Shortcut ? 0 : 1;

    /// <summary>What is scaled with the branch: the branch, and the shift of channels that it has lost.</summary>
    public IEnumerable<GraphValue> Summands => Sum.Op is IndexAddOp ? [Branch, Sum.Operands[1]!] : [Branch];

    /// <summary>
    /// All of a network, in the order of its nodes. Of two operands that are added, the one that the other is computed from is the
    /// shortcut; where neither is, the one of fewer layers.
    /// </summary>
    public static IReadOnlyList<ResidualBranch> Find(Graph graph)
    {
        var order = graph.Nodes.Select((node, i) => (node, i)).ToDictionary(p => p.node, p => p.i);
        var found = new List<ResidualBranch>();
        foreach (GraphNode sum in graph.Nodes)
        {
            (GraphValue A, GraphValue B)? operands = sum.Op switch
            {
                AddOp => (sum.Operands[0]!, sum.Operands[1]!),
                IndexAddOp => (sum.Operands[3]!, sum.Operands[0]!),
                _ => null,
            };
            if (operands is not (var a, var b) || a.Producer is null && b.Producer is null || a.IsWeight || b.IsWeight
                || (sum.Op is AddOp && a.Shape != b.Shape)) continue;
            HashSet<GraphNode> beforeA = Before(a), beforeB = Before(b);
            if (sum.Op is AddOp && IsShortcut(a, beforeA, b, beforeB)) (a, b, beforeA, beforeB) = (b, a, beforeB, beforeA);
            GraphNode[] own = [.. beforeA.Except(beforeB).OrderBy(n => order[n])];
            GraphValue[] weights = [.. own.SelectMany(n => n.Inputs).Where(i => i.IsWeight).Distinct()];
            if (weights.Length == 0) continue;
            bool identity = b.Producer is null ? own.Any(n => n.Inputs.Contains(b)) : beforeA.Contains(b.Producer);
            found.Add(new ResidualBranch("", sum, a, b, identity, weights));
        }
        return Named(found);
    }

    private static bool IsShortcut(GraphValue a, HashSet<GraphNode> beforeA, GraphValue b, HashSet<GraphNode> beforeB)
    {
        if (a.Producer is null || beforeB.Contains(a.Producer)) return true;
        if (b.Producer is null || beforeA.Contains(b.Producer)) return false;
        return beforeA.Except(beforeB).Count() < beforeB.Except(beforeA).Count();
    }

    /// <summary>The nodes that a value comes of.</summary>
    private static HashSet<GraphNode> Before(GraphValue value)
    {
        var nodes = new HashSet<GraphNode>();
        var open = new Stack<GraphValue>([value]);
        while (open.TryPop(out GraphValue? next))
        {
            if (next.Producer is not { } node || !nodes.Add(node)) continue;
            foreach (GraphValue input in node.Inputs) open.Push(input);
        }
        return nodes;
    }

    /// <summary>
    /// What the names of all weights begin with; where the last weight is of a part with a word for a name, as attention and MLP of
    /// a transformer's block are, with that word. So a name says nothing of which other branches are there.
    /// </summary>
    private static List<ResidualBranch> Named(List<ResidualBranch> branches)
    {
        var taken = new HashSet<string>();
        for (int i = 0; i < branches.Count; i++)
        {
            string[] prefix = Prefix(branches[i].Weights), last = branches[i].Weights[^1].Name.Split('.');
            bool part = last.Length - prefix.Length > 2 && !char.IsAsciiDigit(last[prefix.Length][0]);
            if (part) prefix = last[..(prefix.Length + 1)];
            string name = prefix.Length == 0 ? branches[i].Sum.Name : string.Join('.', prefix), unique = name;
            for (int n = 2; !taken.Add(unique); n++) unique = $"{name}#{n}";
            branches[i] = branches[i] with { Name = unique };
        }
        return branches;
    }

    private static string[] Prefix(IReadOnlyList<GraphValue> weights)
    {
        string[] common = weights[0].Name.Split('.')[..^1];
        foreach (GraphValue weight in weights.Skip(1))
            common = [.. common.Zip(weight.Name.Split('.')).TakeWhile(p => p.First == p.Second).Select(p => p.First)];
        return common;
    }
}
