using System.IO.Enumeration;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>How many channels go, and from where. Exactly one of the first five says how many.</summary>
public sealed record SelectionOptions
{
    /// <summary>Share of the channels to remove, in (0, 1): a number, or shares that differ by layer.</summary>
    public LayerRatios? Ratio { get; init; }

    /// <summary>Channels whose score is at most this go.</summary>
    public double? Threshold { get; init; }

    /// <summary>Share of the multiply-adds to keep at most, in (0, 1).</summary>
    public double? TargetFlops { get; init; }

    /// <summary>Share of the time to need at most, in (0, 1), on this machine and for <see cref="TimeBatch"/> images at a time: of the
    /// network before anything was removed.</summary>
    public double? TargetTime { get; init; }

    /// <summary>Milliseconds that <see cref="TimeBatch"/> images at a time may need at most, on this machine.</summary>
    public double? TargetLatency { get; init; }

    /// <summary>Images of a call, for targets of time.</summary>
    public int TimeBatch { get; init; } = 1;

    /// <summary>Whether all layers compete with one another; else each layer loses the same share.</summary>
    public bool Global { get; init; }

    /// <summary>Kept counts are brought to the nearest multiple of this, upward where two are as near; 1 for any count,
    /// <see cref="Automatic"/> for what this processor's kernels run without waste.</summary>
    public int RoundTo { get; init; } = 1;

    /// <summary>For <see cref="RoundTo"/>: whole vectors of this processor, which 31 channels cost as 32 do.</summary>
    public const int Automatic = -1;

    /// <summary>What <see cref="RoundTo"/> is on this machine.</summary>
    public int Multiple => RoundTo == Automatic ? Inference.Map.WholeVectors(1) : RoundTo;

    /// <summary>Fewest channels that a layer keeps; of heads one is enough.</summary>
    public int MinKept { get; init; } = 2;

    /// <summary>Fewest channels that a layer keeps, as a share.</summary>
    public double MinKeptShare { get; init; } = 0.05;

    /// <summary>
    /// Whether layers compete with those of the same structure only, and each such class loses the same share: scores of layers
    /// that differ in kind do not compare (Isomorphic Pruning, arXiv 2407.04616). Goes with <see cref="Global"/>.
    /// </summary>
    public bool Isomorphic { get; init; }

    /// <summary>Which kinds of channels may go. What attention's queries, keys and values lose inside heads
    /// (<see cref="ChannelKind.QueryKey"/>, <see cref="ChannelKind.Value"/>) may go with whole heads in one plan.</summary>
    public ChannelKind Groups { get; init; } = ChannelKind.Channels | ChannelKind.Hidden | ChannelKind.Heads;

    /// <summary>Whether residual streams may lose channels, all their members together: <see cref="ChannelKind.Stream"/> of
    /// <see cref="Groups"/>.</summary>
    public bool Streams
    {
        get => Groups.HasFlag(ChannelKind.Stream);
        init => Groups = value ? Groups | ChannelKind.Stream : Groups & ~ChannelKind.Stream;
    }

    /// <summary>Whether each head loses its own indices, so that heads come to differ in width; else all heads of a layer lose
    /// the same.</summary>
    public bool UnequalHeads { get; init; }

    /// <summary>How attention's channels are looked at for these <see cref="Groups"/>.</summary>
    public IReadOnlyList<HeadView> Views
    {
        get
        {
            bool inside = (Groups & (ChannelKind.QueryKey | ChannelKind.Value)) != 0;
            HeadView[] views = inside ? [UnequalHeads ? HeadView.EachHead : HeadView.AllHeads] : [];
            return !inside || Groups.HasFlag(ChannelKind.Heads) ? [HeadView.Heads, .. views] : views;
        }
    }

    /// <summary>Layers to leave alone, as name patterns with * and ?; a group stays where any of its producers matches.</summary>
    public IReadOnlyList<string> Keep { get; init; } = [];

    /// <summary>Whether anything says how much goes.</summary>
    internal bool HasTarget => Targets > 0;

    /// <summary>Of the whole, where one ratio or the multiply-adds say it.</summary>
    internal double ShareLeft => Ratio?.OfAll is { } ratio ? 1 - ratio : TargetFlops!.Value;

    private int Targets => (Ratio is null ? 0 : 1) + new[] { Threshold, TargetFlops, TargetTime, TargetLatency }.Count(t => t is not null);

    /// <exception cref="EspalierException">A number is out of its range, or there is not exactly one target.</exception>
    public SelectionOptions Checked()
    {
        Require(Targets == 1, "say how much to remove by one of Ratio, Threshold, TargetFlops, TargetTime or TargetLatency");
        Ratio?.CheckShares();
        Require(!Global || Ratio is null || Ratio.OfAll is not null,
            $"layers that compete have one ratio, not {Ratio}; let each layer lose its own share, or say one number");
        Require(!Isomorphic || Global, "layers of one structure compete where layers compete: Isomorphic goes with Global");
        Require(!Isomorphic || Threshold is null, "one threshold for all layers leaves nothing to Isomorphic; say a share");
        Require(Groups != 0, "no kind of channels may go");
        Require(TargetFlops is null or (> 0 and < 1),
            $"the target is {TargetFlops} of the multiply-adds; it is a share above 0 and below 1");
        Require(TargetLatency is null or > 0, $"the target latency is {TargetLatency} ms; it is above 0");
        Require(TargetTime is null or (> 0 and < 1), $"the target is {TargetTime} of the time; it is a share above 0 and below 1");
        Require(TimeBatch is >= 1 and <= 4096, $"times are of 1 to 4096 images at a time, not of {TimeBatch}");
        Require(RoundTo is >= 1 or Automatic, $"channels cannot be rounded to multiples of {RoundTo}");
        Require(MinKept >= 1, $"a layer keeps at least 1 channel, not {MinKept}");
        Require(MinKeptShare is >= 0 and < 1, $"the share that a layer keeps is 0 to 1, not {MinKeptShare}");
        return this;
    }

    /// <summary>The groups that may lose channels.</summary>
    /// <exception cref="EspalierException">A pattern matches no layer, or nothing is left to remove.</exception>
    public IReadOnlyList<ChannelGroup> Candidates(DependencyGraph graph)
    {
        RequireKept(graph);
        ChannelGroup[] left = [.. graph.Groups.Where(g => Groups.HasFlag(g.Kind) && g.Inexact is null && !Keeps(g))];
        Require(left.Length > 0, $"the model has no layers whose channels could be removed ({Groups})"
            + (graph.Groups.Any(g => g.IsStream) && !Streams ? "; those of residual streams go with Streams" : ""));
        Ratio?.CheckPatterns(left);
        return Ratio is null ? left : [.. left.Where(g => Ratio.Of(g) != 0)];
    }

    /// <exception cref="EspalierException">A pattern of <see cref="Keep"/> matches no layer.</exception>
    internal void RequireKept(DependencyGraph graph)
    {
        foreach (string pattern in Keep)
            if (!graph.Groups.Any(g => Matches(g, pattern))) throw NoLayer(graph.Groups, pattern);
    }

    /// <summary>The same of layers by their names.</summary>
    internal void RequireKept(IReadOnlyList<string> layers)
    {
        foreach (string pattern in Keep)
            if (!layers.Any(l => Matches(l, pattern)))
                throw new EspalierException($"no layer matches '{pattern}'{Near.Hint(pattern, layers)}");
    }

    /// <summary>What is wrong where a pattern fits none of these.</summary>
    internal static EspalierException NoLayer(IReadOnlyList<ChannelGroup> groups, string pattern) =>
        new($"no layer that could be pruned matches '{pattern}'; there are "
            + string.Join(", ", groups.Take(6).Select(g => g.Name)) + (groups.Count > 6 ? ", ..." : ""));

    /// <summary>Whether a pattern says that a group is left alone.</summary>
    internal bool Keeps(ChannelGroup group) => Keep.Any(pattern => Matches(group, pattern));

    /// <summary>The same of a layer.</summary>
    internal bool Keeps(string layer) => Keep.Any(pattern => Matches(layer, pattern));

    /// <summary>Fewest channels of a group that stay. Of heads there are few: one is enough.</summary>
    public int Fewest(ChannelGroup group) => Fewest(group.Count, group.Kind == ChannelKind.Heads ? 1 : MinKept);

    /// <summary>Fewest of some filters that stay.</summary>
    public int Fewest(int filters) => Fewest(filters, MinKept);

    private int Fewest(int count, int least) => Math.Min(count, Math.Max(least, (int)Math.Ceiling(MinKeptShare * count - 1e-9)));

    /// <summary>
    /// A count to keep, rounded to <see cref="Multiple"/> where it is larger than that, and at most <paramref name="width"/>.
    /// </summary>
    public int Rounded(int kept, int width) =>
        kept <= Multiple || kept % Multiple == 0 ? kept : Math.Min(width, (kept + Multiple / 2) / Multiple * Multiple);

    /// <summary>The same for a group: what is inside attention's heads is no map of whole vectors, so that it stays as chosen where
    /// nobody asked for a number.</summary>
    internal int Rounded(int kept, ChannelGroup group)
    {
        if (RoundTo == Automatic && group.Kind is ChannelKind.Heads or ChannelKind.QueryKey or ChannelKind.Value) return kept;
        int rounded = Rounded(kept, group.Count), least = Fewest(group);
        // Not below what a layer keeps in any case.
        return rounded >= least ? rounded : Math.Min(group.Count, (least + Multiple - 1) / Multiple * Multiple);
    }

    /// <summary>
    /// Where all layers compete, with a threshold in the place of a share of all channels: the score at place floor(n · share) in
    /// rising order, from 0. Channels whose score equals it go too.
    /// </summary>
    internal SelectionOptions ByThreshold(ChannelScores scores)
    {
        if (!Global || Isomorphic || Ratio?.OfAll is not { } ratio) return this;
        double[] sorted = [.. scores.Groups.Values.SelectMany(s => s).Order()];
        int place = Math.Min((int)(sorted.Length * ratio + 1e-9), sorted.Length - 1);
        return this with { Ratio = null, Threshold = sorted[place] };
    }

    /// <summary>Whether time says how much goes.</summary>
    internal bool IsTimed => TargetTime is not null || TargetLatency is not null;

    /// <summary>Whether a name fits a pattern of <see cref="Keep"/>.</summary>
    internal static bool Matches(string name, string pattern) =>
        FileSystemName.MatchesSimpleExpression(pattern, name, ignoreCase: false);

    /// <summary>By the layers that make the channels; where a list picks them, by the list.</summary>
    internal static bool Matches(ChannelGroup group, string pattern) =>
        group.Of(ChannelRole.Producer).Select(s => s.Layer).DefaultIfEmpty(group.Name).Any(layer => Matches(layer, pattern));

    private static void Require(bool condition, string message)
    {
        if (!condition) throw new EspalierException(message);
    }
}
