using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Lets the last layer of each residual branch lose filters of its own while the stream stays whole: the sum goes by a list of
/// channels from then on (Soft Filter Pruning, arXiv 1808.06866).
/// </summary>
internal static class NarrowBranches
{
    /// <summary>For all branches of a network that have no such list yet.</summary>
    public static void Allow(Graph graph)
    {
        using var edit = new GraphEdit(graph);
        foreach (ResidualBranch branch in ResidualBranch.Find(graph))
        {
            // Rows of tokens or maps, whose channels are axis 1.
            if (branch.Sum.Op is not AddOp || branch.Sum.Output.Shape.Rank is not (2 or 4)) continue;
            int width = branch.Sum.Output.Shape[1];
            Tensor index = Tensor.Unscoped(new Shape(width)), shift = Tensor.Unscoped(new Shape(width));
            ChannelList.Fill(index);
            shift.Fill(0);
            GraphValue sum = graph.Add([branch.ShortcutOf(branch.Sum), branch.BranchOf(branch.Sum)],
                x => F.IndexAdd(x[0], shift, index, x[1]),
                [($"{branch.Name}.scatter.index", index), ($"{branch.Name}.scatter.shift", shift)]);
            edit.Take(branch.Sum, sum);
        }
        edit.Commit();
    }

    /// <summary>Plain sums again where the branch has lost nothing.</summary>
    public static void Tidy(Graph graph)
    {
        using var edit = new GraphEdit(graph);
        foreach (GraphNode sum in graph.Nodes.Where(n => n.Op is IndexAddOp).ToArray())
        {
            bool whole = ChannelList.IsAll(((IndexAddOp)sum.Op).Index, sum.Output.Shape[1]);
            if (!whole || sum.Operands[1]!.Tensor.Span.ContainsAnyExcept(0f)) continue;
            edit.Take(sum, graph.Add([sum.Operands[3]!, sum.Operands[0]!], x => F.Add(x[0], x[1])));
        }
        edit.Commit();
    }
}
