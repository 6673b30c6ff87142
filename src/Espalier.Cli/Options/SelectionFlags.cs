using System.CommandLine;
using System.Globalization;
using Espalier.Compression;

namespace Espalier.Cli.Options;

/// <summary>How many channels `compress` removes, and from where.</summary>
internal static class SelectionFlags
{
    private static readonly Option<LayerRatios?> Ratio = new("--ratio")
    {
        Description = "Share of the channels to remove; or shares by layer, the first pattern that fits: layer1*=0.2,*=0.5",
        HelpName = "SHARE|PATTERN=SHARE,...",
        CustomParser = result =>
        {
            try
            {
                return LayerRatios.Parse(result.Tokens[0].Value);
            }
            catch (EspalierException e)
            {
                result.AddError($"--ratio: {e.Message}{NumberText.Hint(result.Tokens[0].Value, 0.001, 0.999)}");
                return null;
            }
        },
    };
    private static readonly Option<double?> Threshold = Opt.Number("--score-threshold", "Remove channels of at most this score",
        double.MinValue, double.MaxValue, "SCORE");
    private static readonly Option<double?> TargetFlops = Opt.Number("--target-flops",
        "Share of the multiply-adds to keep [0.5 where no other target is given]", 0.001, 0.999, "SHARE");
    private static readonly Option<double?> TargetTime = Opt.Number("--target-time",
        "Share of the time on this machine to need at most, by a table of the times of steps that is measured once", 0.001, 0.999,
        "SHARE");
    private static readonly Option<double?> TargetLatency =
        Opt.Number("--target-latency", "Milliseconds that a call may take on this machine, by the same table", 0.001, 1e6, "MS");
    private static readonly Option<int?> TimeBatch = Opt.Number("--time-batch", "Images of a call, for targets of time [1]", 1, 4096);
    private static readonly Option<bool> Global = Opt.Flag("--global", "Let all layers compete; else each loses the same share");
    private static readonly Option<bool> Isomorphic = Opt.Flag("--isomorphic",
        "Let layers compete with those of the same structure only, which all lose the same share; implies --global");
    private static readonly Option<int?> RoundTo = new("--round-to")
    {
        Description = "Keep multiples of this many channels; auto: whole vectors of this processor, as others cost no less [auto]",
        HelpName = "auto|N",
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            if (text == "auto") return SelectionOptions.Automatic;
            if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int n) && n is >= 1 and <= 4096) return n;
            result.AddError($"--round-to: '{text}' is neither auto nor a whole number from 1 to 4096");
            return null;
        },
    };

    public static Option<int?> MinKept { get; } =
        Opt.Number("--min-kept", "Fewest channels that a layer keeps [2]", 1, 1 << 20);

    public static Option<string?> Keep { get; } = Opt.Text("--keep", "Layers to leave alone, with * and ?", "PATTERN,PATTERN");

    public static Option<bool> Streams { get; } =
        Opt.Flag("--streams", "Prune residual streams as well, all members together");

    public static Option<ChannelKind?> Groups { get; } = new("--groups")
    {
        Description = "What may go, of channels (of convolutions), hidden (units), heads, qk and v (inside heads), stream "
            + "[channels,hidden,heads]",
        HelpName = "KIND,KIND",
        CustomParser = result =>
        {
            ChannelKind kinds = 0;
            foreach (string word in Opt.List(result.Tokens[0].Value))
            {
                ChannelKind kind = word switch
                {
                    "qk" => ChannelKind.QueryKey, "v" => ChannelKind.Value, "channels" => ChannelKind.Channels,
                    "hidden" => ChannelKind.Hidden, "heads" => ChannelKind.Heads, "stream" => ChannelKind.Stream, _ => 0,
                };
                if (kind == 0) result.AddError($"--groups: '{word}' is none of channels, hidden, heads, qk, v, stream");
                kinds |= kind;
            }
            return kinds;
        },
    };

    public static Option<bool> UnequalHeads { get; } = Opt.Flag("--unequal-heads",
        "With qk or v: each head loses its own; else all heads of a layer lose the same");

    public static IReadOnlyList<Option> All { get; } =
        [Ratio, Threshold, TargetFlops, TargetTime, TargetLatency, TimeBatch, Global, Isomorphic, RoundTo, MinKept, Keep, Streams,
            Groups, UnequalHeads];

    public static SelectionOptions Read(ParseResult p)
    {
        SelectionOptions given = Limits(p) with
        {
            Ratio = p.GetValue(Ratio), Threshold = p.GetValue(Threshold), TargetFlops = p.GetValue(TargetFlops),
            TargetTime = p.GetValue(TargetTime), TargetLatency = p.GetValue(TargetLatency), TimeBatch = p.GetValue(TimeBatch) ?? 1,
            Global = p.GetValue(Global) || p.GetValue(Isomorphic),
            Isomorphic = p.GetValue(Isomorphic), RoundTo = p.GetValue(RoundTo) ?? SelectionOptions.Automatic,
        };
        // Methods see whether there is a target; most have one of their own where nothing is said.
        new CompressionOptions { Selection = given }.Selection.Checked();
        return given;
    }

    /// <summary>Which layers may lose channels, and the least that they keep; says nothing of how many go.</summary>
    public static SelectionOptions Limits(ParseResult p)
    {
        var usual = new SelectionOptions();
        ChannelKind groups = p.GetValue(Groups) ?? usual.Groups;
        return usual with
        {
            MinKept = p.GetValue(MinKept) ?? usual.MinKept, Keep = Opt.List(p.GetValue(Keep)),
            Groups = p.GetValue(Streams) ? groups | ChannelKind.Stream : groups, UnequalHeads = p.GetValue(UnequalHeads),
        };
    }
}
