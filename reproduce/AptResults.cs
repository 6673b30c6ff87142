using Espalier.Cli;
using System.Text;
using Espalier.Cli.Running;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Reproduce;

/// <summary>One line of the table: one model in one mode, over all seeds.</summary>
internal sealed record AptResult(string Name, IReadOnlyList<ModelEvaluation> BySeed, double ImagesPerSecond)
{
    public double[] Accuracies => [.. BySeed.Select(e => e.Accuracy)];

    public double Accuracy => BySeed.Average(e => e.Accuracy);

    /// <summary>How much better it is than another line.</summary>
    public Paired Less(AptResult other) => Paired.Of(Accuracies, other.Accuracies);

    public double MultiplyAdds => BySeed.Average(e => e.MultiplyAdds);

    public double[] Tokens => [.. Enumerable.Range(0, BySeed[0].Tokens.Length).Select(i => BySeed.Average(e => e.Tokens[i]))];
}

/// <summary>Evaluates and times the finished runs of an <see cref="AptReproduction"/> and writes them as Markdown.</summary>
internal sealed class AptResults(CommandContext context, AptReproduction runs, IReadOnlyList<ulong> seeds, string? dataDir)
{
    private const int TimedBatch = 256, TimedBatches = 4, Rounds = 15, MostByClass = 4;

    private readonly DatasetPair data = Datasets.Open("fashion-mnist", dataDir);
    private readonly List<(string Name, DroppedPatches Dropped)> dropped = [];

    public IReadOnlyList<AptResult> Measure()
    {
        Inference.Session[][] models = [.. runs.Lines.Select(m =>
            seeds.Select(s => Inference.Session.Open(runs.Checkpoint(m.Id, s))).ToArray())];
        try
        {
            var rows = new List<(string Name, Inference.Session[] Models, bool Prune)>();
            for (int i = 0; i < models.Length; i++)
            {
                string name = runs.Lines[i].Name;
                if (models[i][0].AgentLayers.Count == 0) rows.Add((name, models[i], false));
                else rows.AddRange([($"{name}, pruned", models[i], true), ($"{name}, unpruned", models[i], false)]);
            }
            var evaluations = rows.Select(r => Evaluate(r.Name, r.Models, r.Prune)).ToArray();

            using var scope = new Scope();
            IReadOnlyList<Tensor> batches = ModelSpeed.Batches(data.Test, models[0][0], TimedBatch, TimedBatches);
            // All seeds of a row in one pass over the batches: a row's speed is the mean over its seeds.
            double[] speed = ModelSpeed.ImagesPerSecond([.. rows.Select(r => new ModelSpeed.Timed(images =>
            {
                foreach (Inference.Session m in r.Models) ModelSpeed.Pass(m, r.Prune ? m.Pruning : Pruning.None)(images);
            }, batches))], Rounds);
            return [.. rows.Select((r, i) => new AptResult(r.Name, evaluations[i], speed[i] * seeds.Count))];
        }
        finally
        {
            foreach (Inference.Session m in models.SelectMany(m => m)) m.Dispose();
        }
    }

    /// <summary>Each seed's model on the test images; what a pruned one drops is counted beside it.</summary>
    private ModelEvaluation[] Evaluate(string name, Inference.Session[] models, bool prune)
    {
        DroppedPatches? patches = prune ? new DroppedPatches(data.Test, models[0]) : null;
        ModelEvaluation[] found = [.. models.Select((m, s) =>
            new EvaluationRun(context, m, data.Test, 100).Run($"{name}, seed {seeds[s]}", prune, patches is null ? null : patches.Add))];
        if (patches?.All is { EmptyDropped: 0, OthersDropped: 0 }) patches = null;
        if (patches is not null) dropped.Add((name.Replace(", pruned", ""), patches));
        return found;
    }

    /// <summary>What the agents learned to let go of; nothing where no line drops any token.</summary>
    private string Patches()
    {
        if (dropped.Count == 0) return "";
        string all = string.Join("; ", dropped.Select(d => $"{d.Name}: {Part(d.Dropped.All)}"));
        // Three columns a line: class by class only of a few lines.
        string classes = dropped.Count <= MostByClass ? $"\n\n{DroppedPatches.Table(dropped)}" : "\n";
        return $"""

            Which patches are gone behind the last agent, over all seeds: of those in which every pixel is 0, and of the others
            ({all}).{classes}
            """;

        static string Part(DroppedPatches.Counts n) => FormattableString.Invariant(
            $"{100.0 * n.EmptyDropped / (n.EmptyDropped + n.OthersDropped):0} % of what goes is empty");
    }

    /// <summary>The section of the page of results: the table, how it came about, and the commands behind each line.</summary>
    public string Section(IReadOnlyList<AptResult> rows, string title)
    {
        string list = string.Join(',', seeds);
        string images = FormattableString.Invariant($"{data.Train.Count:#,0} training and {data.Test.Count:#,0} test images");
        IEnumerable<string> commands = runs.Lines.Select(l => runs.Command(l, seeds[0]));
        const int batch = AptReproduction.BatchSize;
        VitConfig shape = VitPresets.Get(AptReproduction.Network);
        return $"""
            ## {title}

            {Verdict(rows)}

            All {images}, seeds {list}. For each seed a plain transformer is trained by `{AptReproduction.StartRecipe}` with this
            seed, and every line goes on from there: {runs.Steps} steps of {batch} images, adamw at 0.0005, no augmentation, the weights
            of the last step. The model is `{AptReproduction.Network}`: {shape.NumLayers} blocks of width {shape.HiddenSize}. Multiply-adds include
            the agents. Tokens are the mean that enter block 0 and that are left after each agent. Budgets were chosen before anything was
            trained, and thresholds by training batches. The difference is to the plain line, seed by seed: the mean and half of
            its 95 % confidence interval (Student's t).

            {Table(rows)}
            Accuracy is the mean over the seeds ± the sample standard deviation. Images a second: batches of {TimedBatch},
            {Workers.Threads} threads ({KernelInfo.Name} kernels), all models in turn, median of {Rounds} rounds; compare the
            ratios, not the absolute figures.
            {Patches()}
            The first line writes this section, the second says how long a seed takes, each line for itself:

            ```sh
            {GivenCommand.Of(context, "apt")}
            {Commands.Start} apt --plan
            ```

            {runs.Made(seeds)} {runs.Hours.Measuring()} The same, model by model (seed {seeds[0]}):

            ```sh
            {AptReproduction.StartCommand(seeds[0])}
            {string.Join('\n', commands)}
            espalier infer --model output/NAME.safetensors --data fashion-mnist
            espalier infer --model output/NAME.safetensors --data fashion-mnist --no-prune
            ```

            """;
    }

    /// <summary>What can be said of each line beside the plain one.</summary>
    internal static string Verdict(IReadOnlyList<AptResult> rows)
    {
        string Names(Func<Paired, bool> such) => string.Join(", ", rows.Skip(1).Where(r => such(r.Less(rows[0])))
            .Select(r => $"{r.Name} ({r.Less(rows[0])})").DefaultIfEmpty("none"));
        return $"Better than plain training, with 95 % confidence: {Names(p => p.Mean > p.Half)}. "
            + $"Worse: {Names(p => p.Mean < -p.Half)}. Not told apart: {Names(p => Math.Abs(p.Mean) <= p.Half)}.";
    }

    /// <summary>The table as Markdown.</summary>
    public static string Table(IReadOnlyList<AptResult> rows)
    {
        double macs = rows[0].MultiplyAdds, rate = rows[0].ImagesPerSecond;
        var text = new StringBuilder("""
            | model | accuracy, % | difference | by seed | tokens left | MACs an image | share | images/s | speed |
            | --- | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: |

            """);
        foreach (AptResult r in rows)
        {
            string bySeed = string.Join(", ", r.BySeed.Select(e => $"{100 * e.Accuracy:0.00}"));
            string tokens = string.Join(", ", r.Tokens.Select(t => $"{t:0.0}"));
            string less = r == rows[0] ? "" : $"{r.Less(rows[0])}";
            text.AppendLine($"| {r.Name} | {100 * r.Accuracy:0.00} ± {100 * Paired.Deviation(r.Accuracies):0.00} | {less} | {bySeed} | {tokens} "
                + $"| {r.MultiplyAdds / 1e6:0.00} M | {100 * r.MultiplyAdds / macs:0.0} % "
                + $"| {r.ImagesPerSecond:0} | {r.ImagesPerSecond / rate:0.00} x |");
        }
        return text.ToString();
    }
}
