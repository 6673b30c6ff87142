using System.Globalization;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Shortens the token rows of a vision transformer: an edit of its graph that adds ops and changes no weight. What is dropped or
/// merged is gone for all that follows, in training, in sessions and in ONNX files. A network with such ops is not trained for
/// them; <see cref="CompressionOptions.FineTuneSteps"/> do that where asked for.
/// </summary>
public abstract record TokenMethod : CompressionMethod
{
    /// <summary>No weight goes.</summary>
    public sealed override bool Removes => false;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses =>
    [
        new(NetworkTraits.MergesTokens, "merged tokens have sizes, which would be lost: merging comes last"),
        new(NetworkTraits.FewerQueries, "it needs all tokens of a block to ask"), CompressionOrder.Grid,
        CompressionOrder.FewBits,
    ];

    /// <inheritdoc/>
    public override NetworkTraits Leaves => NetworkTraits.DropsTokens | NetworkTraits.RanksTokens;

    /// <summary>Puts the ops into a graph.</summary>
    /// <exception cref="EspalierException">It is no transformer that the method can work on, or the target cannot be reached; the
    /// graph is as it was.</exception>
    public void Apply(Graph graph) => Applied(graph);

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        Graph graph = job.Model.Graph;
        long before = graph.CostPerImage.MultiplyAdds;
        // What drops tokens already would choose otherwise among hidden ones.
        bool all = (CompressionOrder.TraitsOf(graph) & (NetworkTraits.DropsTokens | NetworkTraits.HasAgents)) == 0;
        Graph? whole = all && IsCompared ? graph.Copy() : null;
        TokenMethod how = Applied(graph);
        long after = graph.CostPerImage.MultiplyAdds;
        bool dynamic = graph.Nodes.Any(n => n.Op is KeepRowsOp { Rule.By: KeepBy.Limit });
        string cost = dynamic ? "images decide how many multiply-adds are left"
            : string.Create(CultureInfo.InvariantCulture, $"multiply-adds {before} -> {after}");
        string same = "";
        if (whole is not null)
        {
            using var scope = new Scope();
            same = "; " + job.FromMasked(HiddenTokens.Difference(whole, graph, job.Example(4)));
        }
        job.Log($"{Name}: {cost}; no weight has changed{same}");
        job.Model.Card = job.Model.Card.With($"{Name}: {cost}");
        how.Train(job);
    }

    /// <summary>Whether the shorter network is compared with the one that hides what is gone, before any training.</summary>
    private protected virtual bool IsCompared => true;

    /// <summary>The setting that says how many tokens stay, which a target would contradict; null where there is none.</summary>
    private protected abstract string? OwnNumber { get; }

    internal bool HasOwnNumber => OwnNumber is not null;

    /// <summary>Puts the ops in, and says with which settings.</summary>
    private TokenMethod Applied(Graph graph)
    {
        TransformerBlocks blocks = TransformerBlocks.Of(graph);
        if (HasTarget && OwnNumber is { } own)
            throw new EspalierException($"{Name} goes by {own}; leave TargetFlops and all other targets out");
        CheckBlocks(blocks);
        TokenMethod how = Fitted(graph, blocks);
        how.Edit(blocks);
        graph.Refresh();
        return how;
    }

    /// <summary>Lets the network get used to it.</summary>
    private protected virtual void Train(CompressionJob job) => job.Train("fine-tune", FineTuneSteps);

    /// <summary>Refuses networks that the method has nothing to work on in.</summary>
    private protected virtual void CheckBlocks(TransformerBlocks blocks) => CompressionOrder.Check(this, blocks.Graph);

    /// <summary>The method with all that <see cref="Edit"/> needs, where a target has to say it.</summary>
    private protected abstract TokenMethod Fitted(Graph graph, TransformerBlocks blocks);

    /// <summary>Puts the ops in.</summary>
    private protected abstract void Edit(TransformerBlocks blocks);

    /// <summary>
    /// The mildest of some settings, sorted from mild to strong, with which the target for multiply-adds is met: found by halves,
    /// on copies of the graph.
    /// </summary>
    /// <param name="count">Settings, from number 0.</param>
    private protected TokenMethod Mildest(Graph graph, int count, Func<int, TokenMethod> with)
    {
        double target = Selection.TargetFlops
            ?? throw new EspalierException($"{Name} has a target for multiply-adds (TargetFlops), or a number of its own");
        long whole = graph.CostPerImage.MultiplyAdds, most = (long)(target * whole);
        int low = 0, high = count - 1;
        if (Cost(high) > most)
            throw new EspalierException(string.Create(CultureInfo.InvariantCulture,
                $"{Name} cannot leave {target:0.##%} of the multiply-adds, at the least {(double)Cost(high) / whole:0.##%}"));
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (Cost(middle) <= most) high = middle;
            else low = middle + 1;
        }
        return with(low);

        long Cost(int setting)
        {
            Graph copy = graph.Copy();
            with(setting).Edit(TransformerBlocks.Of(copy));
            return copy.CostPerImage.MultiplyAdds;
        }
    }

    /// <summary>A class token, or a row in front that stands for it.</summary>
    private protected void CheckClassToken(TransformerBlocks blocks)
    {
        if (blocks.PrefixTokens == 0)
            throw new EspalierException($"{Name} goes by the attention of a class token, which the network does not have");
    }
}
