using Espalier.Tensors;

namespace Espalier.Compression.Methods.Corp;

/// <summary>
/// CORP (arXiv 2602.05243): structures of a transformer go in one shot, without labels, gradients or training. Hidden units and
/// dimensions of queries and keys are removed, and what they gave, activations and attention's scores, is given by those that
/// stay, by closed-form solutions that are folded into the weights (<see cref="Recovery"/>).
/// </summary>
public sealed record Corp : CompressionMethod
{
    private const ChannelKind Kinds = ChannelKind.Hidden | ChannelKind.QueryKey;

    private static readonly MethodSettings<Corp> Known = new()
    {
        { "images", m => m.Images, (m, x) => m with { Images = x }, 1, 1 << 20, "images that are looked at" },
        { "query-keys", m => m.QueryKeys, (m, x) => m with { QueryKeys = x },
            "how queries make up for what goes; exact and pooled are CORP's ways, projection keeps the best subspace" },
    };

    /// <inheritdoc/>
    public override string Name => "corp";

    /// <inheritdoc/>
    public override string Purpose =>
        "removes hidden units and dimensions of queries and keys, made up for in closed form; no labels";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool NeedsLabels => false;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses => [CompressionOrder.FewBits];

    /// <summary>Images that scores and solutions are taken from.</summary>
    public int Images { get; init; } = 256;

    /// <summary>What becomes of queries and keys.</summary>
    public QueryKeyFit QueryKeys { get; init; } = QueryKeyFit.Exact;

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        SelectionOptions selection = Allowed();
        using (DependencyGraph before = job.Graph(selection.Views)) selection.Candidates(before);
        // For the means of what goes.
        Recovery.AddBiases(job.Model.Graph);
        using DependencyGraph graph = job.Graph(selection.Views);
        ChannelScores scores = Scores(graph, selection.Candidates(graph), () => job.CalibrationBatches(Images));
        RemovalPlan plan = job.Select(graph, scores, selection);
        RecoverOptions how = Recover ?? new RecoverOptions { Images = Images, QueryKeys = QueryKeys };
        using RecoveredWeights fitted = Recovery.Fit(graph, plan, job.CalibrationBatches(how.Images), how);
        job.Remove(graph, plan, new RemovalOptions(Recovered: fitted));
        job.Log(FormattableString.Invariant($"made up for by {fitted.Layers.Count} layers, from {fitted.Images} images: the ")
            + FormattableString.Invariant($"output is off by {fitted.OutputError:0.0%} of its variance there"));
        foreach (string note in fitted.Notes) job.Log(note);
        job.Train("fine-tune", FineTuneSteps);
    }

    private SelectionOptions Allowed()
    {
        SelectionOptions usual = new(), selection = Selection.Checked();
        if (Rounds > 1) throw new EspalierException($"Rounds is {Rounds}: corp removes all in one shot; leave it at 1");
        if (selection.Groups == usual.Groups) selection = selection with { Groups = Kinds };
        return (selection.Groups & ~Kinds) == 0 ? selection : throw new EspalierException(
            $"corp removes hidden units and dimensions of queries and keys; Groups is {selection.Groups}, not some of {Kinds}");
    }

    /// <summary>Of units what the layers that read them lose if the others are fitted anew, of dimensions their share in the
    /// scores of their layer's attention: both in shares of what they are a part of, so that layers compare.</summary>
    private static ChannelScores Scores(
        DependencyGraph graph, IReadOnlyList<ChannelGroup> groups, Func<IEnumerable<Tensor>> images)
    {
        ChannelGroup[] units = [.. groups.Where(g => g.Kind == ChannelKind.Hidden)], dimensions = [.. groups.Except(units)];
        ChannelScores scores = units.Length > 0 ? ActivationScores.OutputError(graph, units, images()) : new ChannelScores();
        if (dimensions.Length == 0) return scores;
        Dictionary<GraphNode, double[]> energy = Energy(graph.Network, images());
        foreach (ChannelGroup group in dimensions)
        {
            scores.Set(group, [.. Enumerable.Range(0, group.Count).Select(k => graph.Attentions(new RemovalPlan().Add(group, k))
                .Where(a => a.Node.Op is AttentionOp && a.Gone.Contains(true)).Sum(a => ShareOf(energy[a.Node], a.Gone)))]);
        }
        return scores;

        static double ShareOf(double[] energy, bool[] gone) =>
            energy.Where((_, c) => gone[c]).Sum() / Math.Max(double.Epsilon, energy.Sum());
    }

    /// <summary>
    /// Of each attention and column c of its queries and keys Σ (q_ic (k_jc - mean_j k_jc))² over the pairs of tokens of all
    /// images: what softmax sees of it, which knows no constant over the keys.
    /// </summary>
    internal static Dictionary<GraphNode, double[]> Energy(Graph network, IEnumerable<Tensor> images)
    {
        GraphNode[] attentions = [.. network.Nodes.Where(n => n.Op is AttentionOp)];
        HashSet<GraphValue> queries = [.. attentions.Select(a => a.Operands[0]!)];
        HashSet<GraphValue> keys = [.. attentions.Select(a => a.Operands[1]!)];
        var sums = attentions.ToDictionary(a => a, a => new double[a.Operands[0]!.Shape[-1]]);
        using Recording.PauseBlock pause = Recording.Pause();
        foreach (Tensor batch in images)
        {
            using var scope = new Scope();
            Dictionary<GraphValue, double[][]> asked = [], seen = [];
            network.Run([batch], default, (value, x) =>
            {
                if (queries.Contains(value)) asked[value] = Squares(x, centred: false);
                if (keys.Contains(value)) seen[value] = Squares(x, centred: true);
            });
            foreach (var (attention, sum) in sums)
                foreach (var (q, k) in asked[attention.Operands[0]!].Zip(seen[attention.Operands[1]!]))
                    for (int c = 0; c < sum.Length; c++) sum[c] += q[c] * k[c];
        }
        return sums;
    }

    /// <summary>Sums of squares of each image's columns.</summary>
    private static double[][] Squares(Tensor x, bool centred)
    {
        RowSet rows = x.Rows ?? RowSet.Uniform(x.Shape[0], x.Shape[1]);
        int columns = x.Shape[-1];
        return [.. Enumerable.Range(0, rows.Images).Select(image =>
        {
            double[] sums = new double[columns], squares = new double[columns];
            for (int row = rows[image]; row < rows[image + 1]; row++)
            {
                ReadOnlySpan<float> values = x.Span.Slice(row * columns, columns);
                for (int c = 0; c < columns; c++)
                {
                    sums[c] += values[c];
                    squares[c] += (double)values[c] * values[c];
                }
            }
            int count = Math.Max(1, rows.Length(image));
            return centred ? [.. squares.Zip(sums, (s, m) => s - m * m / count)] : squares;
        })];
    }
}
