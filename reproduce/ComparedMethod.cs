using Espalier.Compression;

namespace Espalier.Reproduce;

/// <summary>One line of a table of networks made smaller: a method with its settings.</summary>
/// <param name="Id">A name for files.</param>
/// <param name="Name">As the table has it.</param>
/// <param name="Method">As `compress` has it.</param>
/// <param name="Tokens">Whether tokens go; else widths or blocks, for which the random choice is one of channels.</param>
internal sealed record ComparedMethod(string Id, string Name, string Method, bool Tokens = false)
{
    /// <summary>The random choices that the others are held against.</summary>
    public const string RandomChannels = "random", RandomlyKept = "random-tokens";

    /// <summary>The part of the steps that the method trains before it removes anything.</summary>
    public double TrainShare { get; init; }

    public bool Global { get; init; }

    public bool Isomorphic { get; init; }

    public int Rounds { get; init; } = 1;

    public IReadOnlyDictionary<string, string> Settings { get; init; } = new Dictionary<string, string>();

    /// <summary>Prunings of a method that has several while it trains.</summary>
    public int? Prunings { get; init; }

    /// <summary>Whether its shape with new weights is trained, too. What an agent decides is no shape.</summary>
    public bool HasScratch { get; init; } = true;

    /// <summary>Whether what reads the removed channels is fitted to images before the fine-tuning.</summary>
    public bool Recovered { get; init; }

    /// <summary>Whether the fine-tuning has the whole network, trained on, as its teacher.</summary>
    public bool Distilled { get; init; }

    /// <summary>A network that the method has nothing to do in.</summary>
    public string? NotFor { get; init; }

    /// <summary>What is compared on transformers, all at the same targets of multiply-adds and the same number of steps.</summary>
    public static IReadOnlyList<ComparedMethod> Transformers { get; } =
    [
        new(RandomChannels, "random channels", "random"),
        new("l1", "L1 norm", "l1"),
        new("l1-isomorphic", "L1 norm, isomorphic", "l1") { Isomorphic = true },
        new("taylor", "Taylor", "taylor") { Global = true, Rounds = 4 },
        new("corp", "CORP", "corp"),
        new("vtp", "VTP", "vtp") { TrainShare = 0.5 },
        new("vit-slim", "ViT-Slim", "vit-slim") { TrainShare = 0.5 },
        new("wdpruning", "WDPruning", "wdpruning") { TrainShare = 0.5 },
        // Times differ from machine to machine; here all methods go by multiply-adds.
        new("nvit", "NViT", "nvit")
            { TrainShare = 0.5, Prunings = 10, Settings = new Dictionary<string, string> { ["eta"] = "0" } },
        new("spvit", "SPViT", "spvit") { TrainShare = 0.5 },
        new(RandomlyKept, "random tokens", "random-tokens", true),
        new("patch-slimming", "Patch Slimming", "patch-slimming", true),
        new("tome", "ToMe", "tome", true),
        new("evit", "EViT", "evit", true),
        new("ats", "ATS", "ats", true),
        new("topk", "top-k by class attention", "topk", true),
        new("dynamicvit", "DynamicViT", "dynamicvit", true) { TrainShare = 1 },
        new("apt", "APT", "apt", true) { TrainShare = 1, HasScratch = false },
    ];

    /// <summary>What is compared on convolutional networks.</summary>
    public static IReadOnlyList<ComparedMethod> Filters { get; } =
    [
        new(RandomChannels, "random channels", "random"),
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
        new("depth", "Stochastic Depth, blocks removed", "stochastic-depth") { TrainShare = 0.5, NotFor = "vgg16-quarter" },
        new("l1-recovered", "L1 norm, recovered", "l1") { Recovered = true },
        new("output-error", "output error, recovered", "output-error") { Recovered = true },
        new("l1-distilled", "L1 norm, taught by the whole network", "l1") { Distilled = true },
    ];

    /// <summary>The lines of these ids; all where none is named.</summary>
    public static IReadOnlyList<ComparedMethod> Of(IReadOnlyList<ComparedMethod> all, string[] ids) =>
        [.. all.Where(m => ids.Length == 0 || ids.Contains(m.Id))];

    /// <summary>The steps that the method has, and what is removed.</summary>
    public CompressionMethod Options(long steps, double share, ulong seed)
    {
        long before = (long)(steps * TrainShare);
        CompressionMethod method = Settings.Aggregate(CompressionMethods.Get(Method), (m, s) => m.Set(s.Key, s.Value));
        if (Prunings is { } times) method = method.Set("every", FormattableString.Invariant($"{Math.Max(1, before / times)}"));
        return method with
        {
            Selection = new SelectionOptions
            {
                TargetFlops = share, Global = Global || Isomorphic, Isomorphic = Isomorphic, RoundTo = SelectionOptions.Automatic,
            },
            TrainSteps = before,
            FineTuneSteps = steps - before,
            Rounds = Rounds,
            Recover = Recovered ? new RecoverOptions() : null,
            Seed = seed,
        };
    }
}
