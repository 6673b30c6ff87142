using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Quantization;

/// <summary>
/// Puts roundings of probabilities into a network's attention. Where there are two ranges, the split of each attention is that of
/// 2^0 to 2^-15 with which its results on some images are off least.
/// </summary>
internal static class AttentionCodes
{
    /// <summary>Images that splits are looked for on: of each there are thousands of probabilities.</summary>
    private const int SearchImages = 8;

    /// <returns>How many attentions.</returns>
    /// <exception cref="EspalierException">There is none, or there are no images.</exception>
    public static int Apply(Graph graph, IEnumerable<Tensor> images, ProbabilityCoding coding, int bits)
    {
        GraphNode[] nodes = [.. graph.Nodes.Where(n => n.Op is AttentionOp)];
        if (nodes.Length == 0)
            throw new EspalierException("the network has no attention: leave Probabilities out");
        int[] splits = coding == ProbabilityCoding.Twin ? Splits(graph, nodes, images, bits) : new int[nodes.Length];
        for (int i = 0; i < nodes.Length; i++)
            nodes[i].Op = ((AttentionOp)nodes[i].Op).With(new ProbabilityCodes(coding, bits, splits[i]));
        graph.Refresh();
        return nodes.Length;
    }

    /// <summary>Both products of bytes, where that is faster.</summary>
    /// <returns>How many attentions.</returns>
    /// <exception cref="EspalierException">There is none.</exception>
    public static int Bytes(Graph graph)
    {
        int count = 0;
        foreach (GraphNode node in graph.Nodes)
        {
            if (node.Op is not AttentionOp { IsPlain: true } op) continue;
            if (!AttentionInt8.Pays(op.Heads, Rows(op.Operands[0]!), Rows(op.Operands[1]!))) continue;
            node.Op = op.With(null, bytes: true);
            count++;
        }
        if (count == 0)
            throw new EspalierException("the network has no attention of so many tokens, and heads of so many columns, that "
                + "bytes were faster than floats; leave Attention out");
        graph.Refresh();
        return count;

        static int Rows(Tensor x) => x.Rows?.MaxLength ?? x.Shape[1];
    }

    private static int[] Splits(Graph graph, GraphNode[] nodes, IEnumerable<Tensor> images, int bits)
    {
        HashSet<GraphValue> wanted = [.. nodes.SelectMany(n => n.Inputs).Where(v => !v.IsWeight)];
        foreach (Tensor batch in images)
        {
            using var scope = new Scope();
            var seen = new Dictionary<GraphValue, Tensor>();
            graph.Run([F.Slice(batch, 0, 0, Math.Min(SearchImages, batch.Shape[0]))], default, (value, x) =>
            {
                if (!wanted.Contains(value)) return;
                seen[value] = x.Clone();
                seen[value].Rows = x.Rows;
            });
            return Array.ConvertAll(nodes, n => Split(n, seen, bits));
        }
        throw new EspalierException("there are no calibration images to split the range of probabilities by; give some");
    }

    private static int Split(GraphNode node, Dictionary<GraphValue, Tensor> seen, int bits)
    {
        using var scope = new Scope();
        Tensor?[] operands = [.. node.Operands.Select(o => o is null ? null : seen.GetValueOrDefault(o) ?? o.Tensor)];
        var op = (AttentionOp)node.Op.On(operands);
        float[] exact = op.Run().ToArray();
        return Enumerable.Range(0, ProbabilityCodes.MostSplit + 1).MinBy(split =>
        {
            using var inner = new Scope();
            Tensor rounded = op.With(new ProbabilityCodes(ProbabilityCoding.Twin, bits, split)).Run();
            return TensorPrimitives.Distance<float>(exact, rounded.Span);
        });
    }
}
