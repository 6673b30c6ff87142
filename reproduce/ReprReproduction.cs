using System.Globalization;
using System.Text;
using Espalier.Cli;
using Espalier.Compression;
using Espalier.Compression.Methods.RePr;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>
/// Whether RePr helps the network of its paper: as many plain steps, RePr that ends at full size, and RePr that drops the least
/// overlapping filters instead, each without and with augmentation. And a trained network: whether filters that came back learn
/// anything there, and whether the remedies that users of RePr tried help them to.
/// </summary>
/// <param name="tables">Which of <see cref="Tables"/>.</param>
internal sealed class ReprReproduction(CommandContext context, string folder, string? dataDir, long steps, IReadOnlyList<ulong> seeds,
    string[] tables)
{
    private const string OfPaper = "paper", OfTrained = "trained";

    private const string Network = "vanilla-c3", Data = "fashion-mnist-sample";
    private const int BatchSize = 64, ImageSize = 28;
    private const float LearningRate = 0.05f, TrainedRate = 0.01f;
    private const string Trained = "resnet20", Plainly = "plain";

    private readonly Lazy<NetworkRuns> ofTrained = new(() => new(context, folder, Datasets.Open("fashion-mnist", dataDir), ImageSize));
    private readonly NetworkRuns runs = new(context, folder, Datasets.Open(Data, dataDir), ImageSize);

    /// <summary>Its two tables: the paper's network, and a trained one.</summary>
    public static IReadOnlyList<string> Tables { get; } = [OfPaper, OfTrained];

    private NetworkRuns Trainings => ofTrained.Value;

    private static IReadOnlyList<(string Id, string Name, bool Repr, bool Reverse)> Lines { get; } =
    [
        (Plainly, "plain training", false, false),
        ("repr", "RePr", true, false),
        ("reverse", "RePr, least overlap dropped", true, true),
    ];

    private static IReadOnlyList<(string Id, string Name, Augmentation Kind)> Columns { get; } =
        [("as-is", "no augmentation", Augmentation.None), ("moved", "crops and flips", Augmentation.Default)];

    /// <summary>What the trained network is trained on with: an id, words, and the settings.</summary>
    private static IReadOnlyList<(string Id, string Name, (string Name, string Value)[]? Settings)> Remedies { get; } =
    [
        (Plainly, "plain training", null),
        ("root", "RePr, overlap times the square root of the fan-in", []),
        ("fourth", "its fourth root", [("alpha", "0.25")]),
        ("layer", "by layer", [("rank", "layer")]),
        ("global", "overlap alone, as the paper", [("rank", "global")]),
        ("boost", "gradients of restored filters times ten", [("boost", "10")]),
    ];

    /// <summary>Everything that is not finished.</summary>
    public void Train()
    {
        if (tables.Contains(OfPaper)) TrainNew();
        if (tables.Contains(OfTrained)) TrainOn();
    }

    private void TrainNew()
    {
        var all = from seed in seeds
                  from line in Lines
                  from column in Columns
                  select (Seed: seed, Line: line, Column: column);
        foreach (var (seed, line, column) in runs.Mine(all, r => Name(r.Line.Id, r.Column.Id, r.Seed)))
            runs.Do(Name(line.Id, column.Id, seed), () => runs.New(Network, 1, seed), Options(seed, line.Reverse),
                job => NetworkRuns.RunOrTrain(job, line.Repr), augmentation: column.Kind);
    }

    private void TrainOn()
    {
        var all = from seed in seeds from remedy in Remedies select (Seed: seed, Remedy: remedy);
        foreach (var (seed, remedy) in Trainings.Mine(all, r => TrainedName(r.Remedy.Id, r.Seed)))
            Trainings.Do(TrainedName(remedy.Id, seed), Open, Options(seed, remedy.Settings ?? []),
                job => NetworkRuns.RunOrTrain(job, remedy.Settings is not null));
    }

    /// <summary>How long every run with one seed will take on this machine, by a few steps.</summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates(ulong seed)
    {
        if (tables.Contains(OfPaper))
            foreach (var (_, name, repr, reverse) in Lines)
                yield return ($"{Network}, {name}", Columns.Count * runs.Estimate(() => runs.New(Network, 1, seed),
                    few => Options(seed, reverse) with { TrainSteps = few }, job => NetworkRuns.RunOrTrain(job, repr), steps));
        if (tables.Contains(OfTrained))
            foreach (var (_, name, settings) in Remedies)
                yield return ($"{Trained}, {name}", Trainings.Estimate(Open,
                    few => Options(seed, settings ?? []) with { TrainSteps = few }, job => NetworkRuns.RunOrTrain(job, settings is not null), steps));
    }

    private static Model Open() => Model.Open(SizeReproduction.Start(Trained));

    private static string Share(double accuracy) => FormattableString.Invariant($"{100 * accuracy:0.00} %");

    private static string TrainedName(string id, ulong seed) => $"{Trained}-{id}-{seed}";

    private CompressionMethod Options(ulong seed, (string Name, string Value)[] settings)
    {
        CompressionMethod usual = Options(seed, reverse: false);
        CompressionMethod method = settings.Aggregate(usual, (m, s) => m.Set(s.Name, s.Value));
        return method with { Training = usual.Training with { LearningRate = TrainedRate } };
    }

    private static string Name(string id, string column, ulong seed) => $"{Network}-{id}-{column}-{seed}";

    // As in the paper: a fifth of the run before the first drop, a tenth thin, plain SGD at one rate, so that restored filters
    // can still learn.
    private CompressionMethod Options(ulong seed, bool reverse) =>
        CompressionMethods.Get("repr").Set("end", "full").Set("reverse", reverse ? "yes" : "no") with
    {
        TrainSteps = steps,
        Seed = seed,
        Training = new TrainOptions { BatchSize = BatchSize, LearningRate = LearningRate, Momentum = 0, Schedule = "constant" },
    };

    /// <summary>The section of the page of results: a part for each table.</summary>
    public string Section()
    {
        string?[] parts = [tables.Contains(OfPaper) ? NewSection() : null, tables.Contains(OfTrained) ? TrainedSection() : null];
        return $"## RePr on Fashion-MNIST\n\n{string.Join("\n", parts.OfType<string>())}";
    }

    /// <summary>How a part ends: what made its runs, and the command.</summary>
    private string Ending(NetworkRuns of) => $"""
        {of.Made} {of.Hours.Measuring()}

        ```sh
        {GivenCommand.Of(context, "repr")}
        ```

        """;

    private string NewSection()
    {
        string list = string.Join(',', seeds);
        return $"""
            ### The network of its paper

            Does RePr improve the network of its paper (`{Network}`)? {runs.Images},
            seeds {list}; {steps} steps of {BatchSize} for every line, {Sentences.Of(Options(seeds[0], reverse: false).Training)}.
            {Dropping()}

            {Table()}
            Accuracy in per cent: the mean over the seeds ± the sample standard deviation, and by seed. {Ending(runs)}
            """;
    }

    private string TrainedSection()
    {
        RunRecord start = Trainings.Do($"{Trained}-whole", Open, Options(seeds[0], []), _ => { });
        return $"""
            ### A trained network

            Do filters that come back learn anything? `{SizeReproduction.Start(Trained)}` ({Share(start.Accuracy)}), {Trainings.Images}, {steps} steps
            of {BatchSize} at the rate {TrainedRate}, seeds {string.Join(',', seeds)}. The gradients are the mean norm of the restored filters' over that of the others in their
            layer; the losses are of training images, with all filters and without those that had come back last, before
            each drop but the first and at the end:

            {TrainedTable()}
            {Ending(Trainings)}
            """;
    }

    private string TrainedTable()
    {
        var text = new StringBuilder();
        text.AppendLine("| training | accuracy, % | by seed | gradients of restored filters | loss | without them |");
        text.AppendLine("| --- | ---: | --- | ---: | ---: | ---: |");
        foreach (var (id, name, settings) in Remedies)
        {
            RunRecord[] records = [.. seeds.Select(s => Trainings.Record(TrainedName(id, s))!)];
            string Mean(string finding) => settings is null ? ""
                : FormattableString.Invariant($"{records.Average(r => r.Findings![finding]):0.000}");
            text.AppendLine($"| {name} | {RunRecord.Mean(records)} | {RunRecord.List(records)} | {Mean(ReprFindings.Gradients)} | "
                + $"{Mean(ReprFindings.Loss)} | {Mean(ReprFindings.LossWithoutRestored)} |");
        }
        return text.ToString();
    }

    /// <summary>What the method does here, by its settings.</summary>
    private string Dropping()
    {
        CompressionMethod method = Options(seeds[0], reverse: false);
        string Setting(string name) => method.Settings.Single(s => s.Name == name).Of(method);
        string Steps(string name, string usual) => Setting(name) == "0" ? usual : $"{Setting(name)} steps";
        double share = 100 * double.Parse(Setting("drop"), CultureInfo.InvariantCulture);
        string end = Setting("end") == "full" ? "all of them" : "what is left";
        return FormattableString.Invariant($"RePr drops {share:0} % of the filters after {Steps("first", "a fifth of the run")}, for ")
            + $"{Steps("thin", "a tenth of it")}, and again as often as fits; it ends with {end}.";
    }

    private string Table()
    {
        var text = new StringBuilder();
        text.AppendLine($"| training | {string.Join(" | ", Columns.Select(c => $"{c.Name} | by seed"))} |");
        text.AppendLine($"| --- | {string.Join(" | ", Columns.Select(_ => "---: | ---"))} |");
        foreach (var (id, name, _, _) in Lines)
        {
            IEnumerable<string> cells = Columns.Select(c =>
            {
                RunRecord[] records = [.. seeds.Select(s => runs.Record(Name(id, c.Id, s))!)];
                return $"{RunRecord.Mean(records)} | {RunRecord.List(records)}";
            });
            text.AppendLine($"| {name} | {string.Join(" | ", cells)} |");
        }
        return text.ToString();
    }
}
