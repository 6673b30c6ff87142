using System.Globalization;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.PatchSlimming;

/// <summary>
/// Patch slimming (Tang et al., arXiv 2106.02852): which token positions each block has to compute is found once, from the last
/// block, whose class token alone is read, back to the first, and is the same for every image. A block keeps what the next one
/// keeps, and then the most significant positions until the next block's output is near enough to the original. Weights keep
/// their shapes.
/// </summary>
public sealed record PatchSlimming : CompressionMethod
{
    private const float ClipNorm = 1;

    private static readonly MethodSettings<PatchSlimming> Known = new()
    {
        { "epsilon", m => m.Epsilon, (m, x) => m with { Epsilon = x }, 0.0, double.PositiveInfinity,
            "mean squared error of a block's output that is near enough" },
        { "step", m => m.Step, (m, x) => m with { Step = x }, 1, 1 << 20, "positions that are added at once" },
        { "tune", m => m.TuneSteps, (m, x) =>
            m with { TuneSteps = x }, 0, 1 << 20, "steps in which a block gets used to its positions" },
        { "rate", m => m.TuneRate, (m, x) =>
            m with { TuneRate = x }, 0.0, double.PositiveInfinity, "learning rate of these steps" },
        { "same-head", m => m.SameHead, (m, x) => m with { SameHead = x },
            "whether significance follows one head through all blocks, and not every path of heads" },
    };

    /// <inheritdoc/>
    public override string Name => "patch-slimming";

    /// <inheritdoc/>
    public override string Purpose =>
        "finds the token positions that each block needs, the same for every image, from the last block back";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses => [new(NetworkTraits.DropsTokens | NetworkTraits.HasAgents
        | NetworkTraits.MergesTokens | NetworkTraits.FewerQueries, "it finds positions among all of an image"), CompressionOrder.Grid,
        CompressionOrder.FewBits];

    /// <inheritdoc/>
    public override NetworkTraits Leaves => NetworkTraits.DropsTokens | NetworkTraits.FewerQueries;

    /// <summary>No weight goes.</summary>
    public override bool Removes => false;

    /// <summary>Mean squared error of the next block's kept output that is near enough.</summary>
    public double Epsilon { get; init; } = 0.01;

    /// <summary>Positions that are added at once where the error is too large, the paper's r'.</summary>
    public int Step { get; init; } = 10;

    /// <summary>Steps for each candidate in which the block learns to give the original's output (the paper: three
    /// epochs).</summary>
    public int TuneSteps { get; init; } = 50;

    /// <summary>Learning rate of these steps.</summary>
    public double TuneRate { get; init; } = 1e-5;

    /// <summary>Whether significance follows one head through all blocks, and not every path of heads.</summary>
    public bool SameHead { get; init; }

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        if (HasTarget)
            throw new EspalierException("patch-slimming keeps the positions that Epsilon asks for; it has no Ratio, TargetFlops or "
                + "other target");
        if (TuneSteps > 0 && Training.TrainOnly.Count > 0)
            throw new EspalierException("patch-slimming tunes all weights of a block: leave TrainOnly out, or set TuneSteps to 0");
        Graph graph = job.Model.Graph;
        long before = graph.CostPerImage.MultiplyAdds;
        IReadOnlyList<int[]> kept = Search(graph,
            () => job.RankingBatches().Select(b => b.ToTensor(job.Model.Channels, job.Model.ImageSize)), job.Log);
        float difference;
        using (new Scope()) difference = CutAndCompare(graph, kept, job.Example(4));
        string cost = string.Create(CultureInfo.InvariantCulture, $"multiply-adds {before} -> {graph.CostPerImage.MultiplyAdds}");
        job.Log($"{Name}: {cost}; no weight has changed its shape; {job.FromMasked(difference)}");
        job.Model.Card = job.Model.Card.With($"{Name}: {cost}");
        job.Train("fine-tune", FineTuneSteps);
    }

    /// <summary>Cuts each block to the positions that it keeps.</summary>
    /// <param name="kept">Of each block the tokens behind those in front that its output has, rising; each a part of that of the
    /// block before.</param>
    /// <exception cref="EspalierException">It is no transformer that can be cut like this.</exception>
    public static void Apply(Graph graph, IReadOnlyList<IReadOnlyList<int>> kept)
    {
        TransformerBlocks blocks = Checked(graph);
        for (int i = 0; i < kept.Count; i++) Cut(graph, blocks.PrefixTokens, i, kept[i]);
    }

    /// <summary>The positions of each block, for <see cref="Apply"/>; blocks' weights are tuned on the way.</summary>
    /// <param name="images">Calibration images [N, C, S, S], batch after batch; asked for again and again.</param>
    public IReadOnlyList<int[]> Search(Graph graph, Func<IEnumerable<Tensor>> images, Action<string>? log = null)
    {
        TransformerBlocks blocks = Checked(graph);
        // Significance follows attention as queries and keys alone make it.
        BlockChecks.RequirePlainAttention(blocks, Name);
        if (!images().Any()) throw new EspalierException($"{Name} has no images to go by; RankBatches is at least 1");
        int last = blocks.Blocks.Count - 1, prefix = blocks.PrefixTokens;
        using var original = new Original(graph);
        int[] all = [.. Enumerable.Range(prefix, blocks.Tokens - prefix)];
        int[][] kept = [.. Enumerable.Repeat(all, last), []];
        for (int t = last - 1; t >= 0; t--)
        {
            double[] scores = Scores(graph, kept, t, images());
            // Ties go to the lower position.
            int[] rest = [.. all.Except(kept[t + 1]).OrderByDescending(p => scores[p]).ThenBy(p => p)];
            for (int r = 0; ; r += Step)
            {
                kept[t] = [.. kept[t + 1].Concat(rest.Take(r)).Order()];
                var pair = new BlockPair(original, graph, kept, t);
                // A block that keeps all positions is the original's, whatever was tuned for fewer.
                if (kept[t].Length == all.Length) pair.Restore();
                else pair.Tune(images, TuneSteps, (float)TuneRate, ClipNorm);
                double error = kept[t].Length < all.Length ? pair.Error(images()) : 0;
                log?.Invoke(string.Create(CultureInfo.InvariantCulture,
                    $"block {t}: {kept[t].Length} positions, error {error:0.0000}"));
                if (error <= Epsilon || kept[t].Length == all.Length) break;
            }
        }
        return kept;
    }

    /// <summary>Cuts, and says how far the network then is from one of all tokens in which those that are cut are not seen.</summary>
    internal static float CutAndCompare(Graph graph, IReadOnlyList<int[]> kept, Tensor images)
    {
        TransformerBlocks blocks = TransformerBlocks.Of(graph);
        int prefix = blocks.PrefixTokens;
        int[][] seen =
        [
            [.. Enumerable.Range(0, blocks.Tokens)],
            .. kept.SkipLast(1).Select(k => Enumerable.Range(0, prefix).Concat(k).ToArray()),
        ];
        float[] masked = TokenList.Masked(graph, images, seen);
        Apply(graph, kept);
        return Removal.Difference(masked, graph.Run(images).Span);
    }

    /// <summary>Leaves a block's output the tokens in front and those of a list.</summary>
    internal static void Cut(Graph graph, int prefix, int index, IReadOnlyList<int> tokens)
    {
        TransformerBlock block = TransformerBlocks.Of(graph).Blocks[index];
        RowSet rows = block.Input.Tensor.Rows!;
        if (rows.Length(0) == prefix + tokens.Count) return;
        FewerQueries.Insert(graph, block, [], t => TokenList.Keep(t[0], tokens, prefix));
    }

    /// <summary>Mean significance of each token of block t's output, later blocks being cut as they are.</summary>
    internal double[] Scores(Graph graph, int[][] kept, int t, IEnumerable<Tensor> images)
    {
        Graph cut = graph.Copy();
        int prefix = TransformerBlocks.Of(cut).PrefixTokens;
        for (int i = t + 1; i < kept.Length; i++) Cut(cut, prefix, i, kept[i]);
        IReadOnlyList<TransformerBlock> blocks = TransformerBlocks.Of(cut).Blocks;
        Graph part = cut.Between(cut.Inputs, [blocks[t].Input, .. blocks.Skip(t).SelectMany(b =>
            b.Attention.Operands.Take(2)).OfType<GraphValue>()]);
        var sums = new double[blocks[t].Input.Tensor.Rows!.MaxLength];
        int count = 0;
        foreach (Tensor batch in images)
        {
            using var scope = new Scope();
            Tensor[] values = part.Run([batch]);
            for (int image = 0; image < batch.Shape[0]; image++, count++)
            {
                Attended[] attended = [.. blocks.Skip(t).Select((b, i) =>
                    Attended.Of(b.AttentionOp, values[1 + 2 * i], values[2 + 2 * i], image))];
                RowSet rows = values[0].Rows!;
                int width = values[0].Shape[1];
                double[] input = Array.ConvertAll(values[0].Span.Slice(rows[image] * width,
                    rows.Length(image) * width).ToArray(), x => (double)x);
                double[] scores = Significance.Of(attended[1..], attended[0], input, SameHead);
                for (int i = 0; i < sums.Length; i++) sums[i] += scores[i];
            }
        }
        return [.. sums.Select(s => s / Math.Max(1, count))];
    }

    private static TransformerBlocks Checked(Graph graph)
    {
        CompressionOrder.Check(new PatchSlimming(), graph);
        TransformerBlocks blocks = TransformerBlocks.Of(graph);
        FewerQueries.Check(blocks, "patch-slimming");
        if (blocks.PrefixTokens == 0)
            throw new EspalierException("patch-slimming leaves the last block its class token, which the network does not have");
        BlockChecks.RequireClassHead(blocks, "patch-slimming leaves the last block its class token alone");
        return blocks;
    }
}
