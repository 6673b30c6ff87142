using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>What activations of some images say about how much channels matter to the layers that read them.</summary>
public static class ActivationScores
{
    /// <summary>Values of a layer's rows up to which a matrix of them is inverted.</summary>
    private const int MostColumns = 4096;

    /// <summary>Ridge of the inverse, as a share of the mean variance.</summary>
    private const double Ridge = 1e-2;

    /// <summary>
    /// The variance of each channel where it is read: what is nearly constant can be given by a bias (VBP, arXiv 2507.12988). The mean
    /// over the columns that read it.
    /// </summary>
    public static ChannelScores Variance(DependencyGraph graph, IReadOnlyList<ChannelGroup> groups, IEnumerable<Tensor> images) =>
        Of(graph, groups, images, (readers, count) =>
        {
            var scores = new double[count];
            foreach (Reader reader in readers)
            {
                double[] c = reader.Moments.Covariance();
                for (int k = 0; k < count; k++)
                    scores[k] += reader.Units[k].Average(i => c[i * reader.Width + i]) / readers.Count;
            }
            return scores;
        });

    /// <summary>
    /// By how much the output of the layers that read a channel would change if all weights that are left were fitted anew, as a share
    /// of its variance: one channel after the other is taken out, the cheapest first. See <see cref="Elimination"/>. What
    /// <see cref="Recovery"/> can make up for counts nothing.
    /// </summary>
    public static ChannelScores OutputError(DependencyGraph graph, IReadOnlyList<ChannelGroup> groups, IEnumerable<Tensor> images) =>
        Of(graph, groups, images, (readers, _) => Elimination.Scores([.. readers.Select(r =>
            (new Elimination(r.Weights(), r.Moments.Covariance(), r.Width, Ridge), r.Units))]));

    private static ChannelScores Of(DependencyGraph graph, IReadOnlyList<ChannelGroup> groups, IEnumerable<Tensor> images,
        Func<List<Reader>, int, double[]> score)
    {
        Graph network = graph.Network;
        ILookup<Tensor, GraphNode> layers = network.Nodes.Where(n => n.Op is LinearOp or Conv2dOp)
            .ToLookup(n => n.Operands[1]!.Tensor);
        var readers = groups.ToDictionary(g => g, _ => new List<Reader>());
        var wanted = new Dictionary<MomentSource, List<Reader>>();
        foreach (ChannelGroup group in groups)
        {
            foreach (GroupSlice slice in group.Of(ChannelRole.Consumer).Where(s => s is { Axis: 1, Tensor.Rank: >= 2 }))
            {
                // A grouped convolution reads the channel once in each group; the first stands for all.
                if (layers[slice.Tensor].FirstOrDefault() is not { } node) continue;
                var reader = new Reader(slice, MomentSource.ChannelsInto(node).Channels);
                if (reader.Width > MostColumns) continue;
                readers[group].Add(reader);
                MomentSource source = MomentSource.ChannelsInto(node) with { Channels = reader.Width, Places = reader.Places };
                if (!wanted.TryGetValue(source, out List<Reader>? same)) wanted.Add(source, same = []);
                same.Add(reader);
            }
        }
        foreach (var (source, moments) in ActivationMoments.Of(network, [.. wanted.Keys], images))
            foreach (Reader reader in wanted[source]) reader.Moments = moments;
        var scores = new ChannelScores();
        foreach (ChannelGroup group in groups)
            if (readers[group].Count > 0) scores.Set(group, score(readers[group], group.Count));
        return scores.Groups.Count > 0 ? scores : throw new EspalierException(
            "none of the channels that may go is read by a linear layer or convolution whose inputs could be looked at");
    }

    /// <summary>The columns of one weight that read a group's channels.</summary>
    private sealed class Reader
    {
        private readonly Tensor weight;

        public Reader(GroupSlice slice, int channels)
        {
            weight = slice.Tensor;
            int length = slice.Entries[0].Length;
            // Of a flattened map a channel has neighbouring columns, one a place: they are rows of one value.
            bool flattened = weight.Rank == 2 && length > 1 && channels > MostColumns && slice.Entries.All(e => e[^1] - e[0] == length - 1
                && e[0] % length == 0) && weight.Shape[1] % length == 0;
            Places = flattened ? length : 1;
            Width = weight.Shape[1] / Places;
            Units = flattened ? [.. slice.Entries.Select(e => new[] { e[0] / length })] : slice.Entries;
        }

        public int Places { get; }

        /// <summary>Values of a row that it reads.</summary>
        public int Width { get; }

        public IReadOnlyList<int[]> Units { get; }

        public Moments Moments { get; set; } = null!;

        /// <summary>[outputs · taps, width].</summary>
        public double[] Weights()
        {
            int rows = weight.Shape[0], taps = (int)(weight.Length / ((long)rows * Width));
            var values = new double[weight.Length];
            for (int o = 0; o < rows; o++)
                for (int c = 0; c < Width; c++)
                    for (int t = 0; t < taps; t++) values[(o * taps + t) * Width + c] = weight.Span[(o * Width + c) * taps + t];
            return values;
        }
    }
}
