using System.Globalization;
using System.Text;
using Espalier.Cli;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>
/// Whether RePr helps the network of its paper: as many plain steps, RePr that ends at full size, and RePr that drops the least
/// overlapping filters instead, each without and with augmentation.
/// </summary>
internal sealed class ReprReproduction(CommandContext context, string folder, string? dataDir, long steps,
    IReadOnlyList<ulong> seeds)
{
    private const string Network = "vanilla-c3", Data = "fashion-mnist-sample";
    private const int BatchSize = 64, ImageSize = 28;
    private const float LearningRate = 0.05f;

    private readonly NetworkRuns runs = new(context, folder, Datasets.Open(Data, dataDir), ImageSize);

    private static IReadOnlyList<(string Id, string Name, bool Repr, bool Reverse)> Lines { get; } =
    [
        ("plain", "plain training", false, false),
        ("repr", "RePr", true, false),
        ("reverse", "RePr, least overlap dropped", true, true),
    ];

    private static IReadOnlyList<(string Id, string Name, Augmentation Kind)> Columns { get; } =
        [("as-is", "no augmentation", Augmentation.None), ("moved", "crops and flips", Augmentation.Default)];

    /// <summary>Everything that is not finished.</summary>
    public void Train()
    {
        var all = from seed in seeds
                  from line in Lines
                  from column in Columns
                  select (Seed: seed, Line: line, Column: column);
        foreach (var (seed, line, column) in runs.Mine(all, r => Name(r.Line.Id, r.Column.Id, r.Seed)))
            runs.Do(Name(line.Id, column.Id, seed), () => runs.New(Network, 1, seed), Options(seed, line.Reverse), job =>
            {
                if (line.Repr) job.Run();
                else job.Train("train", steps);
            }, augmentation: column.Kind);
    }

    private static string Name(string id, string column, ulong seed) => $"{Network}-{id}-{column}-{seed}";

    // As in the paper: a fifth of the run before the first drop, a tenth thin, plain SGD at one rate, so that restored filters
    // can still learn.
    private CompressionOptions Options(ulong seed, bool reverse) =>
        CompressionMethods.Get("repr").Set("end", "full").Set("reverse", reverse ? "yes" : "no") with
    {
        TrainSteps = steps,
        Seed = seed,
        Training = new TrainOptions { BatchSize = BatchSize, LearningRate = LearningRate, Momentum = 0, Schedule = "constant" },
    };

    /// <summary>The section of the page of results.</summary>
    public string Section()
    {
        string list = string.Join(',', seeds);
        return $"""
            ## RePr on Fashion-MNIST

            Does RePr improve the network of its paper (`{Network}`)? {runs.Images},
            seeds {list}; {steps} steps of {BatchSize} for every line, {Sentences.Of(Options(seeds[0], reverse: false).Training)}.
            {Dropping()}

            {Table()}
            Accuracy in per cent: the mean over the seeds ± the sample standard deviation, and by seed. This section is written by

            ```sh
            {GivenCommand.Of(context, "repr")}
            ```

            {runs.Made}

            """;
    }

    /// <summary>What the method does here, by its settings.</summary>
    private string Dropping()
    {
        CompressionMethod method = (CompressionMethod)Options(seeds[0], reverse: false);
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
