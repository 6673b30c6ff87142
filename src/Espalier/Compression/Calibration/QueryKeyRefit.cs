using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// What becomes of the queries and keys of heads that lose some dimensions. Their scores are products of the two, so the rows that
/// stay of the layers that make them can be solved anew, see <see cref="QueryKeyMaps"/>. Only for queries and keys that are a linear
/// layer's result, or a part of one: what is done to them in between must be undone otherwise.
/// </summary>
internal sealed unsafe class QueryKeyRefit
{
    private readonly Dictionary<GraphNode, Pruned> pruned = [];
    private readonly QueryKeyFit how;
    private readonly TwinRun twins;
    private readonly Func<Tensor, Tensor> changed;

    /// <param name="attentions">Of each attention which columns of queries go.</param>
    /// <param name="changed">Gives the copy of a weight that stays.</param>
    /// <param name="isReadOnce">Whether a weight has one reader.</param>
    public QueryKeyRefit(IEnumerable<(GraphNode Node, bool[] Gone)> attentions, QueryKeyFit how, TwinRun twins, Func<Tensor, Tensor> changed,
        Func<GraphValue, bool> isReadOnce)
    {
        (this.how, this.twins, this.changed) = (how, twins, changed);
        foreach (var (node, gone) in attentions)
        {
            HeadLayout heads = ((AttentionOp)node.Op).Heads;
            int[] partly = [.. Enumerable.Range(0, heads.Count).Where(h => IsPart(gone.AsSpan()[heads.QueryColumns[h]..heads.QueryColumns[h + 1]]))];
            if (partly.Length == 0 || how == QueryKeyFit.Slice) continue;
            if (Source.Of(node.Operands[0]!) is not { } query || Source.Of(node.Operands[1]!) is not { } key) continue;
            if (!isReadOnce(query.Weight) || !isReadOnce(key.Weight)) continue;
            pruned.Add(node, new Pruned(heads, partly, gone, query, key));
            // The fit wants queries and keys whole; rows that go are set to zero by it.
            Unmask(query, gone, partly, heads);
            Unmask(key, gone, partly, heads);
        }
    }

    /// <summary>Before the attention runs in the second network: changes its queries and keys, and the weights that make them.</summary>
    public void Fit(GraphNode node)
    {
        if (!pruned.TryGetValue(node, out Pruned? of)) return;
        GraphValue q = node.Operands[0]!, k = node.Operands[1]!;
        for (int b = 0; b < twins.Batches; b++)
        {
            twins.Change(b, q, Copy(twins[b, q].Small));
            twins.Change(b, k, Copy(twins[b, k].Small));
        }
        foreach (int head in of.Partly)
        {
            int first = of.Heads.QueryColumns[head], width = of.Heads.QueryWidthOf(head);
            int[] kept = [.. Enumerable.Range(0, width).Where(i => !of.Gone[first + i])];
            QueryKeyMaps maps = Maps(q, k, first, width, kept, hasBias: of.Query.Bias is not null);
            Rewrite(of.Query, first, width, kept, maps.Query, maps.Constant);
            Rewrite(of.Key, first, width, kept, maps.Key, null);
            for (int b = 0; b < twins.Batches; b++)
            {
                Apply(twins[b, q].Small, first, width, kept, maps.Query, maps.Constant);
                Apply(twins[b, k].Small, first, width, kept, maps.Key, null);
            }
        }
    }

    private QueryKeyMaps Maps(GraphValue q, GraphValue k, int first, int width, int[] kept, bool hasBias)
    {
        var sums = new QueryKeySums(width, kept, how, hasBias);
        for (int b = 0; b < twins.Batches; b++)
        {
            Tensor query = twins[b, q].Small, key = twins[b, k].Small;
            RowSet queries = RowsOf(query), keys = RowsOf(key);
            int columns = query.Shape[-1];
            for (int i = 0; i < queries.Images; i++)
            {
                sums.Add(query.Data + (long)queries[i] * columns + first, queries.Length(i), key.Data + (long)keys[i] * columns + first,
                    keys.Length(i), columns);
            }
        }
        return sums.Solve();
    }

    /// <summary>New rows of a weight and its bias: those that stay are mixed of all rows of the head, the others zero.</summary>
    private void Rewrite(Source source, int first, int width, int[] kept, double[] map, double[]? constant)
    {
        Mix(changed(source.Weight.Tensor), source.First + first, width, kept, map);
        if (source.Bias is null) return;
        Tensor bias = changed(source.Bias.Tensor);
        Mix(bias, source.First + first, width, kept, map);
        for (int i = 0; i < kept.Length && constant is not null; i++) bias.Span[source.First + first + kept[i]] += (float)constant[i];
    }

    private static void Mix(Tensor weight, int first, int width, int[] kept, double[] map)
    {
        int below = (int)(weight.Length / weight.Shape[0]);
        var sums = new double[kept.Length * below];
        for (int i = 0; i < kept.Length; i++)
            for (int j = 0; j < width; j++)
                for (int x = 0; x < below; x++) sums[i * below + x] += map[i * width + j] * weight.Span[(first + j) * below + x];
        weight.Span.Slice(first * below, width * below).Clear();
        for (int i = 0; i < kept.Length; i++)
            for (int x = 0; x < below; x++) weight.Span[(first + kept[i]) * below + x] = (float)sums[i * below + x];
    }

    private static void Apply(Tensor x, int first, int width, int[] kept, double[] map, double[]? constant)
    {
        int columns = x.Shape[-1];
        var old = new float[width];
        for (long r = 0; r < x.Length / columns; r++)
        {
            var row = new Span<float>(x.Data + r * columns + first, width);
            row.CopyTo(old);
            row.Clear();
            for (int i = 0; i < kept.Length; i++)
            {
                double sum = constant?[i] ?? 0;
                for (int j = 0; j < width; j++) sum += map[i * width + j] * old[j];
                row[kept[i]] = (float)sum;
            }
        }
    }

    private void Unmask(Source source, bool[] gone, int[] partly, HeadLayout heads)
    {
        foreach (int head in partly)
        {
            for (int c = heads.QueryColumns[head]; c < heads.QueryColumns[head + 1]; c++)
            {
                if (!gone[c]) continue;
                foreach (GraphValue part in source.Bias is null ? [source.Weight] : new[] { source.Weight, source.Bias })
                {
                    Range range = PlannedCuts.Elements(part.Shape, 0, [source.First + c])[0];
                    part.Tensor.Span[range].CopyTo(changed(part.Tensor).Span[range]);
                }
            }
        }
    }

    private static bool IsPart(ReadOnlySpan<bool> gone) => gone.Contains(true) && gone.Contains(false);

    private static Tensor Copy(Tensor x)
    {
        Tensor copy = x.Clone();
        copy.Rows = x.Rows;
        return copy;
    }

    private static RowSet RowsOf(Tensor x) => x.Rows ?? RowSet.Uniform(x.Shape[0], x.Rank == 3 ? x.Shape[1] : 1);

    private sealed record Pruned(HeadLayout Heads, int[] Partly, bool[] Gone, Source Query, Source Key);

    /// <summary>The linear layer that makes a value.</summary>
    /// <param name="First">The row of its weight that makes the value's first column.</param>
    private sealed record Source(GraphValue Weight, GraphValue? Bias, int First)
    {
        public static Source? Of(GraphValue value)
        {
            int first = 0;
            while (value.Producer is { Op: SliceOp slice } cut && slice.Axis == value.Shape.Rank - 1)
            {
                first += slice.Start;
                value = cut.Operands[0]!;
            }
            return value.Producer is { Op: LinearOp { Gelu: false, Residual: null } } node && node.Operands[1] is { IsWeight: true } weight
                && node.Operands.ElementAtOrDefault(2) is null or { IsWeight: true }
                ? new Source(weight, node.Operands.ElementAtOrDefault(2), first) : null;
        }
    }
}
