using System.Text;
using Espalier.Benchmarking;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Reproduce;

/// <summary>One line of the table: one way to the smaller network, over all seeds.</summary>
/// <param name="Scratch">Accuracies of the same shapes trained from scratch; null for the whole network.</param>
/// <param name="Milliseconds">An image, the mean over the seeds.</param>
internal sealed record FilterResult(string Name, IReadOnlyList<RunRecord> BySeed, IReadOnlyList<RunRecord>? Scratch,
    double Milliseconds);

/// <summary>Times the finished runs of a <see cref="FilterReproduction"/> and writes them as Markdown.</summary>
internal sealed class FilterResults(FilterReproduction runs, IReadOnlyList<ulong> seeds)
{
    private const int Repeats = 15;
    private static readonly TimeSpan TimeEach = TimeSpan.FromSeconds(0.5);

    /// <summary>The lines of one network, the whole network first.</summary>
    public IReadOnlyList<FilterResult> Measure(FilterNetwork network)
    {
        (string Id, string Name)[] lines = [(FilterReproduction.Whole, "whole network"),
            .. FilterMethod.All.Where(m => !m.NotFor.Contains(network.Name)).Select(m => (m.Id, m.Name))];
        RunRecord[][] records = [.. lines.Select(l => seeds.Select(s => Finished(network, l.Id, s)).ToArray())];
        double[] times = Times(network, [.. lines.Select(l => l.Id)]);
        return [.. lines.Select((l, i) => new FilterResult(l.Name, records[i], l.Id == FilterReproduction.Whole ? null
            : [.. records[i].Select((r, s) => Finished(network, FilterReproduction.Scratch(r.Shape), seeds[s]))], times[i]))];
    }

    private RunRecord Finished(FilterNetwork network, string id, ulong seed) =>
        runs.Runs.Record(FilterReproduction.Name(network, id, seed))
        ?? throw new EspalierException($"{network.Name}, {id}, seed {seed} is not trained; run this without --train-only for it");

    /// <summary>Milliseconds of one image through each network; all seeds of a line in one pass.</summary>
    private double[] Times(FilterNetwork network, string[] ids)
    {
        Session[][] models = [.. ids.Select(id => seeds.Select(s =>
            Session.Open(runs.Runs.File(FilterReproduction.Name(network, id, s)))).ToArray())];
        try
        {
            float[] image = Pixels(models[0][0]);
            float[] logits = new float[models[0][0].NumClasses];
            Action[] passes = [.. models.Select(line => (Action)(() =>
            {
                foreach (Session model in line) model.Run(image, 1, logits);
            }))];
            return [.. new Rounds { Repeats = Repeats, MinTime = TimeEach }.Measure(passes)
                .Select(s => SampleStatistics.Of(s).P50 / 1e6 / seeds.Count)];
        }
        finally
        {
            foreach (Session model in models.SelectMany(m => m)) model.Dispose();
        }
    }

    private float[] Pixels(Session model)
    {
        var rng = new Tensors.Rng(0);
        float[] pixels = new float[model.Channels * model.ImageSize * model.ImageSize];
        ImagePipeline.Eval(model.ImageSize, model.Channels).Run(runs.Runs.Test.ReadImage(0), ref rng, pixels);
        return pixels;
    }

    /// <summary>The section of the page of results.</summary>
    public string Section(IReadOnlyList<(FilterNetwork Network, IReadOnlyList<FilterResult> Rows)> tables, string command)
    {
        string list = string.Join(',', seeds), share = FormattableString.Invariant($"{runs.Share}");
        string length = Sentences.Length(2 * runs.Steps, FilterReproduction.BatchSize, runs.Runs.Train.Count);
        var text = new StringBuilder($"""
            ## Filter pruning on Fashion-MNIST

            All {runs.Runs.Images}, seeds {list}. For each network and seed there is one common training of
            {runs.Steps} steps; every line then has {runs.Steps} steps more, its sparse or soft training included, and the last weights
            count. {Sentences.Of(FilterReproduction.Trained(new()).Training)}, batches of {FilterReproduction.BatchSize},
            no augmentation. Every method is told to keep at most {share} of the multiply-adds; residual streams stay whole, so only
            what lies inside blocks can go. "From scratch" is the shape that the method arrived at with new weights and all
            {2 * runs.Steps} steps. {length}

            """);
        foreach (var (network, rows) in tables)
        {
            string width = network.Width == 1 ? "" : FormattableString.Invariant($", {network.Width} of the published width");
            text.Append($"\n### {network.Name}{width}\n\n{Table(rows)}");
        }
        text.Append($"""

            Accuracy is the mean over the seeds ± the sample standard deviation. Milliseconds are of one image at a time,
            {Workers.Threads} threads ({KernelInfo.Name} kernels), all networks in turn, the median of {Repeats} rounds, the mean over
            the seeds; compare the ratios.

            This section is written by

            ```sh
            {command}
            ```

            {runs.Runs.Made}

            """);
        return text.ToString();
    }

    /// <summary>One network's lines as Markdown.</summary>
    public static string Table(IReadOnlyList<FilterResult> rows)
    {
        FilterResult whole = rows[0];
        var text = new StringBuilder("""
            | method | accuracy, % | by seed | from scratch, % | parameters | MACs | ms an image | speed |
            | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |

            """);
        foreach (FilterResult r in rows)
        {
            text.AppendLine(RunRecord.Columns(r.Name, r.BySeed, r.Scratch, whole.BySeed[0])
                + FormattableString.Invariant($"| {r.Milliseconds:0.000} | {whole.Milliseconds / r.Milliseconds:0.00} x |"));
        }
        return text.ToString();
    }
}
