using System.Globalization;

namespace Espalier.Compression;

/// <summary>What can be set of RePr; the words are those of --set.</summary>
internal sealed record ReprOptions
{
    public static IReadOnlyList<MethodSetting> Settings { get; } =
    [
        new("first", "0", "steps at full size before a drop, 0 for a fifth of the training"),
        new("thin", "0", "steps without the dropped filters, 0 for a tenth of the training"),
        new("cycles", "3", "drops at most, 0 for as many as fit"),
        new("drop", "0.3", "share of the filters that a drop takes; what is removed in the end is the target's to say"),
        new("rank", "fan-in",
            "fan-in: over all layers, by overlap times fan-in to the power alpha; global: by overlap; layer: in each layer"),
        new("alpha", "0.5", "the power, for rank=fan-in"),
        new("exclude-first", "no", "yes: the first convolution keeps its filters"),
        new("length", "survivors", "of new filters: the mean of the others; clip: unit vectors, entries up to 1/sqrt(fan-in)"),
        new("relax", "no", "yes: where no orthogonal direction is left, restored filters are so to the most overlapping only"),
        new("readers", "random", "zeros: the weights that read a restored filter start at zero"),
        new("branches", "no", "yes: filters whose results are added to a residual stream are dropped as well; with end=full"),
        new("reverse", "no", "yes: drops the least overlapping filters, to see that the rule matters"),
        new("end", "thin", "thin: the filters of the last drop are removed; full: the network ends at its full size"),
    ];

    public required ReprSchedule Schedule { get; init; }

    /// <summary>Of the filters, taken by a drop.</summary>
    public required double Drop { get; init; }

    /// <summary>Whether all layers compete.</summary>
    public required bool Global { get; init; }

    /// <summary>Of the fan-in, see <see cref="FilterOverlap"/>.</summary>
    public required double Alpha { get; init; }

    public required bool ExcludeFirst { get; init; }

    public required bool Clip { get; init; }

    public required bool Relax { get; init; }

    public required bool ZeroReaders { get; init; }

    public required bool Branches { get; init; }

    public required bool Reverse { get; init; }

    public required bool EndThin { get; init; }

    /// <summary>What decides which weights come out.</summary>
    public IReadOnlyList<(string Name, string Value)> Identity { get; private init; } = [];

    public static bool EndsThin(CompressionOptions o) => o.Word("end", "thin", "full") == "thin";

    /// <exception cref="EspalierException">A setting is out of its range, or no cycle fits into the training.</exception>
    public static ReprOptions Of(CompressionOptions o)
    {
        long first = Steps("first", Math.Max(1, o.TrainSteps / 5)), thin = Steps("thin", Math.Max(1, o.TrainSteps / 10));
        bool endThin = EndsThin(o);
        string rank = o.Word("rank", "fan-in", "global", "layer");
        var options = new ReprOptions
        {
            Schedule = new ReprSchedule(o.TrainSteps, first, thin, (int)o.Number("cycles", 3, 0, 1_000_000), endThin),
            Drop = o.Number("drop", 0.3, 0.001, 0.9), Global = rank != "layer",
            Alpha = o.Number("alpha", 0.5, -1, 2) is var alpha && rank == "fan-in" ? alpha : 0,
            ExcludeFirst = Yes("exclude-first"), Clip = o.Word("length", "survivors", "clip") == "clip", Relax = Yes("relax"),
            ZeroReaders = o.Word("readers", "random", "zeros") == "zeros", Branches = Yes("branches"), Reverse = Yes("reverse"),
            EndThin = endThin,
            Identity = [.. Settings.Select(s => ($"Repr/{s.Name}", o.Settings.GetValueOrDefault(s.Name, s.Default)))],
        };
        if (options.Branches && endThin)
            throw new EspalierException(
                "--set branches=yes goes with end=full: a stream's channel cannot be removed from one branch");
        if (options.Schedule.Drops.Count == 0 && (o.TrainSteps > 0 || !endThin))
            throw new EspalierException(string.Create(CultureInfo.InvariantCulture,
                $"no cycle of RePr fits into {o.TrainSteps} training steps, with {first} before a drop and {thin} after it; ")
                + "say more --train-steps, or less with --set first=STEPS,thin=STEPS");
        return options;

        bool Yes(string name) => o.Word(name, "no", "yes") == "yes";
        long Steps(string name, long usual) => (long)o.Number(name, 0, 0, 1e12) is > 0 and var set ? set : usual;
    }
}
