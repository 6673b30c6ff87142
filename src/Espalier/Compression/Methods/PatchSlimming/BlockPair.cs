using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.PatchSlimming;

/// <summary>The network as it was before the search, with weights of its own.</summary>
internal sealed class Original : IDisposable
{
    private readonly List<(Tensor Weight, Tensor Copy)> weights = [];

    public Original(Graph graph)
    {
        Graph = graph.Copy();
        foreach (GraphValue weight in graph.Weights.Values)
        {
            Tensor copy = Tensor.Unscoped(weight.Shape);
            copy.CopyFrom(weight.Tensor);
            weights.Add((weight.Tensor, copy));
        }
        Blocks = TransformerBlocks.Of(Graph).Blocks;
    }

    public Graph Graph { get; }

    public IReadOnlyList<TransformerBlock> Blocks { get; }

    /// <summary>What gives block t's input and the next one's output.</summary>
    public Graph Pair(int t) => Graph.Between(Graph.Inputs, [Blocks[t].Input, Blocks[t + 1].Output]);

    /// <summary>The values of a <see cref="Pair"/> with the weights of then.</summary>
    public Tensor[] Run(Graph pair, Tensor images)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        Swap();
        try
        {
            return pair.Run([images]);
        }
        finally
        {
            Swap();
        }
    }

    /// <summary>Gives some weights back what they were.</summary>
    public void Restore(IReadOnlySet<Tensor> some)
    {
        foreach (var (weight, copy) in weights)
            if (some.Contains(weight)) weight.CopyFrom(copy);
    }

    public void Dispose()
    {
        foreach (var (_, copy) in weights) copy.Dispose();
    }

    private void Swap()
    {
        foreach (var (weight, copy) in weights) weight.Exchange(copy);
    }
}

/// <summary>A block with fewer outputs and the one behind it, which has lost its own already, against the original's.</summary>
internal sealed class BlockPair
{
    private readonly Original original;
    private readonly Graph part, whole;
    private readonly int[] targets;
    private readonly (string Name, Tensor Value)[] own;

    /// <param name="kept">Positions of each block.</param>
    /// <param name="t">The block; the next one is the second.</param>
    public BlockPair(Original original, Graph graph, int[][] kept, int t)
    {
        (this.original, whole) = (original, original.Pair(t));
        Graph copy = graph.Copy();
        int prefix = TransformerBlocks.Of(copy).PrefixTokens;
        for (int i = t; i <= t + 1; i++) PatchSlimming.Cut(copy, prefix, i, kept[i]);
        IReadOnlyList<TransformerBlock> blocks = TransformerBlocks.Of(copy).Blocks;
        part = copy.Between([blocks[t].Input], [blocks[t + 1].Output]);
        targets = [.. Enumerable.Range(0, prefix), .. kept[t + 1]];
        Graph first = copy.Between([blocks[t].Input], [blocks[t].Output]);
        own = [.. first.Parameters];
    }

    /// <summary>Forgets all tuning of the first block.</summary>
    public void Restore() => original.Restore(own.Select(p => p.Value).ToHashSet());

    /// <summary>The mean squared error of what the second block keeps.</summary>
    public double Error(IEnumerable<Tensor> images)
    {
        double sum = 0;
        int count = 0;
        foreach (Tensor batch in images)
        {
            using var scope = new Scope();
            sum += Loss(batch).Item() * batch.Shape[0];
            count += batch.Shape[0];
        }
        return sum / Math.Max(1, count);
    }

    /// <summary>Trains the first block alone; gradients pass through the second, which stays.</summary>
    public void Tune(Func<IEnumerable<Tensor>> images, int steps, float rate, float clip)
    {
        if (steps == 0) return;
        Tensor[] others = [.. part.Parameters.Select(p => p.Value).Except(own.Select(p => p.Value))];
        foreach (Tensor other in others) other.RequiresGrad = false;
        using var optimizer = new AdamW([new ParameterGroup("block", own)], weightDecay: 0);
        Tensor[] trained = [.. own.Select(p => p.Value)];
        try
        {
            for (int done = 0; done < steps;)
            {
                foreach (Tensor batch in images())
                {
                    using var scope = new Scope();
                    using var recording = new Recording();
                    recording.Backward(Loss(batch));
                    GradientClip.ByGlobalNorm(trained, clip);
                    optimizer.Step(rate);
                    foreach (Tensor weight in trained) weight.ClearGrad();
                    if (++done == steps) break;
                }
            }
        }
        finally
        {
            foreach (Tensor other in others) other.RequiresGrad = true;
        }
    }

    private Tensor Loss(Tensor images)
    {
        Tensor[] values = original.Run(whole, images);
        Tensor wanted = values[1];
        RowSet rows = wanted.Rows!;
        int[] index = [.. Enumerable.Range(0, rows.Images).SelectMany(b => targets.Select(t => rows[b] + t))];
        return F.Mse(part.Run([values[0]])[0], F.GatherRows(wanted, index));
    }
}
