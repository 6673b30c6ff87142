using System.Globalization;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.WdPruning;

/// <summary>
/// WDPruning (Yu et al., AAAI 2022): training learns for each layer of a vision transformer which rows to keep and how many,
/// pushed to a budget by multipliers; classifiers after some blocks let all later blocks go. In the end the exit is taken that
/// meets the target with the least loss, and what its masks leave out is removed.
/// </summary>
public sealed record WdPruning : CompressionMethod
{
    private const string UsualExits = "usual", NoExits = "none";

    private static readonly MethodSettings<WdPruning> Known = new()
    {
        { "exits", m => m.Exits, WithExits,
            "blocks, from 1, behind which a classifier learns to end the network: 10, or 6/10; usual: five sixths of them",
            "numbers of blocks with / between them, usual, or none" },
        { "initial", m => m.Initial, (m, x) => m with { Initial = x }, -10.0, 20.0,
            "what thresholds begin with: layers keep the share sigmoid of it; the paper has 10" },
        { "rate", m => m.Rate, (m, x) => m with { Rate = x }, 0.0, double.PositiveInfinity,
            "learning rate of thresholds and scores" },
        { "multiplier-rate", m => m.MultiplierRate, (m, x) => m with { MultiplierRate = x }, 0.0, double.PositiveInfinity,
            "rate at which the multipliers of the budget climb" },
    };

    /// <inheritdoc/>
    public override string Name => "wdpruning";

    /// <inheritdoc/>
    public override string Purpose => "learns widths of a vision transformer's layers, and after which block it can end";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses => [CompressionOrder.FewBits];

    /// <summary>Blocks, from 1, with a classifier behind them: "10", "6/10", "usual" or "none".</summary>
    public string Exits { get; init; } = UsualExits;

    /// <summary>
    /// Of all thresholds. The paper's 10 keeps everything, but the sigmoid is so flat there that nothing happens for long; 4 keeps
    /// 98 per cent.
    /// </summary>
    public double Initial { get; init; } = 4;

    /// <summary>Of thresholds and scores, at the beginning; it falls along a cosine to 0.00001.</summary>
    public double Rate { get; init; } = 0.0025;

    /// <summary>The same of both multipliers.</summary>
    public double MultiplierRate { get; init; } = 10;

    private protected override string ByGradients => "WDPruning learns its masks";

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        Graph graph = job.Model.Graph;
        SelectionOptions selection = Allowed();
        int[] exits = ExitsOf(TransformerBlocks.Of(graph));
        long parameters = job.Model.ParameterCount, work = graph.CostPerImage.MultiplyAdds;
        selection.RequireKept(WdMasks.LayersOf(graph));
        WdMasks masks = WdMasks.Insert(graph, selection.Keeps, Initial);
        double target = selection.ShareLeft;
        try
        {
            Lowest(masks.Blocks.Count);
        }
        catch
        {
            Gate.Remove(graph, masks.Layers.SelectMany(l => l.Gates));
            throw;
        }
        masks.Apply();
        List<GraphValue> logits = [.. exits.Select(block => NewExit(masks, block)), graph.Outputs[0]];
        job.Train("learning widths", TrainSteps, new WdHook(masks, this, target, [.. logits.SkipLast(1)]));
        job.Log(FormattableString.Invariant($"thresholds keep {masks.Remaining():0.0%} of the blocks' weights"));

        int[] depths = [.. exits, masks.Blocks.Count];
        var (chosen, lower) = Choose(job, masks, logits, depths, Lowest);
        masks.Apply(lower);
        End(job, logits[chosen], parameters, work, masks.Blocks.Count - depths[chosen]);
        WdLayer[] left = [.. masks.Blocks.Take(depths[chosen]).SelectMany(b => b.Layers)];
        // Masked rows become zero, as they were in training: what is fitted or moved when they go must not see what they were before.
        Gate.Fold(graph, left.SelectMany(l => l.Gates));
        Narrow(job, left);
        job.Train("fine-tune", FineTuneSteps);

        // How much lower thresholds have to be for so many blocks to meet the target; null where nothing is enough.
        double? Lowest(int depth)
        {
            double[] Parts(WdBlock b) => selection.Ratio is not null ? b.Parameters : b.MultiplyAdds;
            double blocks = masks.Blocks.Sum(b => Parts(b).Sum()), whole = selection.Ratio is not null ? blocks : work;
            double other = whole - blocks;
            double Left(double lower) => (other + masks.Blocks.Take(depth).Sum(b => b.Left(Parts(b), lower))) / whole;
            double low = -40, high = 40;
            if (Left(high) > target)
            {
                // The whole depth is asked first: an exit may do what it cannot.
                if (depth < masks.Blocks.Count || exits.Any(e => Lowest(e) is not null)) return null;
                throw new EspalierException(FormattableString.Invariant($"no widths reach {target:0.###} of the network: with ")
                    + FormattableString.Invariant($"one head or row of each layer {Left(high):0.###} is left; ask for less"));
            }
            for (int i = 0; i < 60; i++)
            {
                double middle = (low + high) / 2;
                if (Left(middle) <= target) high = middle;
                else low = middle;
            }
            return high;
        }
    }

    private SelectionOptions Allowed()
    {
        SelectionOptions selection = Selection.Checked();
        string? wrong = TrainSteps == 0 ? "TrainSteps is 0: WDPruning learns in training what it removes"
            : RankBatches == 0 ? "RankBatches is 0: the exit is chosen by the loss of that many batches"
            : Rounds > 1 ? $"Rounds is {Rounds}: WDPruning has one training; leave it at 1"
            : selection.Ratio is null && selection.TargetFlops is null ? "WDPruning takes TargetFlops or one Ratio"
            : selection.Ratio is { OfAll: null } ? "WDPruning has one Ratio for the whole network"
            : selection.Isomorphic || selection.UnequalHeads ? "WDPruning learns widths: leave Isomorphic and UnequalHeads out"
            : selection.RoundTo > 1 ? "WDPruning rounds to 16 rows by itself: leave RoundTo out" : null;
        return wrong is null ? selection : throw new EspalierException(wrong);
    }

    private int[] ExitsOf(TransformerBlocks blocks)
    {
        int all = blocks.Blocks.Count;
        if (Exits == NoExits) return [];
        if (Exits == UsualExits) return blocks.PrefixTokens > 0 && all > 1 ? [Math.Max(1, all * 10 / 12)] : [];
        int[] exits = [.. Exits.Split('/').Select(e => int.Parse(e, CultureInfo.InvariantCulture)).Distinct().Order()];
        if (exits[0] < 1 || exits[^1] >= all)
            throw new EspalierException($"Exits is {Exits}: of the network's {all} blocks they are behind 1 to {all - 1}");
        return blocks.PrefixTokens > 0 ? exits
            : throw new EspalierException("Exits read the class token, and the network has none: set them to none");
    }

    private static WdPruning? WithExits(WdPruning method, string text) => text is UsualExits or NoExits
        || text.Split('/').All(e => int.TryParse(e, NumberStyles.None, CultureInfo.InvariantCulture, out _))
        ? method with { Exits = text } : null;

    /// <summary>A norm and a linear layer of their own on the class token behind a block; nothing but training reads them yet.
    /// </summary>
    internal GraphValue NewExit(WdMasks masks, int block)
    {
        TransformerBlock at = masks.Network.Blocks[block - 1];
        int width = at.Output.Shape[-1], classes = masks.Graph.Outputs[0].Shape[1];
        Tensor gamma = Tensor.Parameter(new Shape(width)), beta = Tensor.Parameter(new Shape(width));
        Tensor weight = Tensor.Parameter(new Shape(classes, width)), bias = Tensor.Parameter(new Shape(classes));
        gamma.Fill(1);
        foreach (Tensor zero in new[] { beta, bias }) zero.Fill(0);
        var rng = new Rng(Seed, key0: (ulong)block);
        Init.XavierUniform(weight, ref rng);
        float epsilon = ((LayerNormOp)at.AttentionNorm.Op).Epsilon;
        string norm = $"exit.{block}.norm", head = $"exit.{block}.head";
        return masks.Graph.Add([at.Output], x => F.Linear(F.LayerNorm(F.TakeRows(x[0], 0), gamma, beta, epsilon), weight, bias),
            [(norm + ".weight", gamma), (norm + ".bias", beta), (head + ".weight", weight), (head + ".bias", bias)]);
    }

    /// <summary>The exit whose network has the least loss of those that meet the target, and how much lower thresholds are
    /// for it.</summary>
    private static (int Exit, double Lower) Choose(CompressionJob job, WdMasks masks, List<GraphValue> logits, int[] depths,
        Func<int, double?> lowest)
    {
        var best = (Exit: -1, Lower: 0.0, Loss: double.PositiveInfinity);
        for (int i = 0; i < depths.Length; i++)
        {
            if (lowest(depths[i]) is not { } lower) continue;
            masks.Apply(lower);
            double loss = job.RankingLoss(masks.Graph.Between(masks.Graph.Inputs, [logits[i]]))[0];
            job.Log(FormattableString.Invariant($"with {depths[i]} of {masks.Blocks.Count} blocks the loss is {loss:0.####}"));
            if (best.Exit < 0 || loss < best.Loss) best = (i, lower, loss);
        }
        return (best.Exit, best.Lower);
    }

    /// <summary>Lets the network end with an exit: later blocks and other classifiers go.</summary>
    private static void End(CompressionJob job, GraphValue logits, long parameters, long work, int blocks)
    {
        Graph graph = job.Model.Graph;
        using var scope = new Scope();
        Tensor images = job.Example(4);
        float[] expected = graph.Between(graph.Inputs, [logits]).Run(images).ToArray();
        using var edit = new GraphEdit(graph);
        if (logits != graph.Outputs[0]) edit.Take(graph.Outputs[0].Producer!, logits);
        float difference = edit.Commit(images, expected);
        if (blocks == 0) return;
        var summary = PlanSummary.OfSizes(parameters, work, job.Model);
        job.Removed($"{blocks} blocks behind an exit", new RemovalReport(summary, difference, []));
    }

    /// <summary>Removes the rows that masks leave out; sums go by lists of channels where a branch is narrower than the stream.
    /// </summary>
    private static void Narrow(CompressionJob job, WdLayer[] layers)
    {
        Graph graph = job.Model.Graph;
        NarrowBranches.Allow(graph);
        using (DependencyGraph groups = job.Graph(HeadView.Heads))
        {
            var plan = new RemovalPlan();
            foreach (WdLayer layer in layers.Where(l => l.Mask.Contains(0)))
            {
                ChannelGroup group = groups.Made(layer.Weight, layer.Count)
                    ?? throw new EspalierException($"the rows of '{layer.Name}' cannot go on their own: leave it alone with Keep");
                plan.Add(group, Enumerable.Range(0, layer.Count).Where(k => layer.Mask[k] == 0));
            }
            if (plan.Count > 0) job.Remove(groups, plan);
        }
        NarrowBranches.Tidy(graph);
    }
}
