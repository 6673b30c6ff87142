using Espalier.Compression;

namespace Espalier.Reproduce;

/// <summary>One line of the table of filter pruning: a method with its settings.</summary>
/// <param name="Id">A name for files.</param>
/// <param name="Name">As the table has it.</param>
/// <param name="Method">As `compress` has it.</param>
internal sealed record FilterMethod(string Id, string Name, string Method)
{
    /// <summary>The part of the steps after the common training that the method trains before it removes channels.</summary>
    public double TrainShare { get; init; }

    /// <summary>Whether layers compete; else each loses the same share.</summary>
    public bool Global { get; init; }

    public int Rounds { get; init; } = 1;

    /// <summary>Whether the fine-tuning has the whole network, trained to its end, as its teacher.</summary>
    public bool Distilled { get; init; }

    public IReadOnlyDictionary<string, string> Settings { get; init; } = new Dictionary<string, string>();

    /// <summary>Networks that the method has nothing to do in.</summary>
    public IReadOnlyList<string> NotFor { get; init; } = [];

    /// <summary>What is compared, all at the same target of multiply-adds and the same number of steps.</summary>
    public static IReadOnlyList<FilterMethod> All { get; } =
    [
        new("random", "random", "random"),
        new("l1", "L1 norm", "l1"),
        new("l2", "L2 norm", "l2"),
        new("fpgm", "FPGM", "fpgm"),
        new("bn-scale", "BN scale", "bn-scale") { Global = true },
        new("taylor", "Taylor", "taylor") { Global = true, Rounds = 4 },
        new("slimming", "Network Slimming", "network-slimming")
            { TrainShare = 0.5, Settings = new Dictionary<string, string> { ["lambda"] = "0.001" } },
        new("sfp", "Soft Filter Pruning", "soft-filter") { TrainShare = 0.5 },
        new("asfp", "Asymptotic SFP", "soft-filter")
            { TrainShare = 0.5, Settings = new Dictionary<string, string> { ["asymptotic"] = "yes" } },
        new("repr", "RePr, ended thin", "repr") { TrainShare = 0.5 },
        new("depth", "Stochastic Depth, blocks removed", "stochastic-depth") { TrainShare = 0.5, NotFor = ["cifar-vgg16"] },
        new("l1-distilled", "L1 norm, taught by the whole network", "l1") { Distilled = true },
    ];

    /// <summary>The steps that the method has, and what is removed.</summary>
    public CompressionMethod Options(long steps, double share, ulong seed) =>
        Settings.Aggregate(CompressionMethods.Get(Method), (method, s) => method.Set(s.Key, s.Value)) with
        {
            Selection = new SelectionOptions { TargetFlops = share, Global = Global },
            TrainSteps = (long)(steps * TrainShare),
            FineTuneSteps = steps - (long)(steps * TrainShare),
            Rounds = Rounds,
            Seed = seed,
        };
}
