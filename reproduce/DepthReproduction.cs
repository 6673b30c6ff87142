using System.Text;
using Espalier.Cli;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>
/// A trained network trained on with random depth, by the ways to draw and to scale, beside as many plain steps: what it reaches at its
/// full depth, and what is left of that where the blocks that it misses least are taken out and nothing is trained after it.
/// </summary>
internal sealed class DepthReproduction(CommandContext context, string folder, string? dataDir, long steps, IReadOnlyList<ulong> seeds)
{
    private const string Network = "resnet20", Plain = "plain";
    private const int BatchSize = 64, Gone = 2;
    private const float LearningRate = 0.01f;

    private readonly NetworkRuns runs = new(context, folder, Datasets.Open("fashion-mnist", dataDir), 28, steps);

    /// <summary>An id, words, and the settings; null for plain training.</summary>
    private static IReadOnlyList<(string Id, string Name, (string Name, string Value)[]? Settings)> Lines { get; } =
    [
        (Plain, "plain training", null),
        .. from rule in new[] { "uniform", "linear" }
           from survival in new[] { "0.8", "0.5" }
           select ($"{rule}-{survival}", $"{rule}, {survival}", new[] { ("rule", rule), ("survival", survival) }),
        ("sample", "linear, 0.8, a draw for each image", [("survival", "0.8"), ("granularity", "sample")]),
        ("inverted", "linear, 0.8, scaled in training", [("survival", "0.8"), ("scaling", "inverted")]),
        ("inverted-0.5", "linear, 0.5, scaled in training", [("survival", "0.5"), ("scaling", "inverted")]),
    ];

    /// <summary>Everything that is not finished.</summary>
    public void Train()
    {
        var all = from seed in seeds from line in Lines select (Seed: seed, Line: line);
        foreach (var (seed, line) in runs.Mine(all, r => Name(r.Line.Id, r.Seed)))
        {
            runs.Do(Name(line.Id, seed), () => Model.Open(SizeReproduction.Start(Network)), Options(seed, 0, line.Settings ?? []),
                job => NetworkRuns.RunOrTrain(job, line.Settings is not null));
            CompressionOptions cut = Options(seed, Gone, []) with { TrainSteps = 0 };
            runs.Do(Cut(line.Id, seed), () => runs.Open(Name(line.Id, seed)), cut, job => job.Run());
        }
    }

    /// <summary>How long every run with one seed will take on this machine, by a few steps.</summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates(ulong seed) => Lines.Select(line => (line.Name,
        runs.Estimate(() => Model.Open(SizeReproduction.Start(Network)), few => Options(seed, 0, line.Settings ?? []) with { TrainSteps = few },
            job => NetworkRuns.RunOrTrain(job, line.Settings is not null), steps)));

    private static string Name(string id, ulong seed) => $"{Network}-{id}-{seed}";

    private static string Cut(string id, ulong seed) => $"{Name(id, seed)}-cut";

    private CompressionOptions Options(ulong seed, int gone, (string Name, string Value)[] settings) =>
        settings.Append(("remove", $"{gone}")).Aggregate(CompressionMethods.Get("stochastic-depth"), (m, s) => m.Set(s.Item1, s.Item2)) with
    {
        TrainSteps = steps,
        Seed = seed,
        Training = new TrainOptions { BatchSize = BatchSize, LearningRate = LearningRate, Optimizer = "nesterov", WeightDecay = 5e-4f },
    };

    /// <summary>The section of the page of results.</summary>
    public string Section() => $"""
        ## Stochastic depth on Fashion-MNIST

        {Verdict()}

        `{SizeReproduction.Start(Network)}`, {runs.Images}, seeds {string.Join(',', seeds)}; {steps} steps of {BatchSize} for every line,
        {Sentences.Of(Options(seeds[0], 0, []).Training)}. The probability is that of the last block: `uniform` has it for all, `linear` falls
        to it from 1. Where training does not divide by the probabilities, inference multiplies by them. The last columns are
        without {Gone} of its blocks, those that it misses least, and without any training after it.

        {Table()}
        Accuracy in per cent: the mean over the seeds ± the sample standard deviation, and by seed.

        ```sh
        {GivenCommand.Of(context, "depth")}
        ```

        {runs.Made} {runs.Hours.Measuring()}

        """;

    /// <summary>What is better than plain training, at full depth and without some blocks.</summary>
    private string Verdict()
    {
        string Better(Func<string, ulong, string> name)
        {
            double Of(string id) => seeds.Average(s => runs.Record(name(id, s))!.Accuracy);
            string[] better = [.. Lines.Skip(1).Where(l => Of(l.Id) > Of(Plain)).Select(l => l.Name)];
            return better.Length == 0 ? "none" : string.Join("; ", better);
        }
        return $"Better than as many plain steps at full depth: {Better(Name)}. Better than these without {Gone} blocks: {Better(Cut)}.";
    }

    private string Table()
    {
        var text = new StringBuilder();
        text.AppendLine("| training | full depth | by seed | blocks removed | by seed |");
        text.AppendLine("| --- | ---: | --- | ---: | --- |");
        foreach (var (id, name, _) in Lines)
        {
            RunRecord[] whole = [.. seeds.Select(s => runs.Record(Name(id, s))!)], cut = [.. seeds.Select(s => runs.Record(Cut(id, s))!)];
            text.AppendLine($"| {name} | {RunRecord.Mean(whole)} | {RunRecord.List(whole)} | {RunRecord.Mean(cut)} | {RunRecord.List(cut)} |");
        }
        return text.ToString();
    }
}
