using System.Text;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Reproduce;

/// <summary>One line of a network's table, over all seeds.</summary>
/// <param name="Method">Null for the network as it was.</param>
/// <param name="Same">Share of the test images with the answer that the network gave as it was, the mean.</param>
/// <param name="Bytes">Of the file, the mean.</param>
/// <param name="Bound">Of the weights, were codes packed to their entropy.</param>
/// <param name="Milliseconds">Of one image.</param>
/// <param name="Ratio">Of the milliseconds to those of the network as it was, in turn.</param>
internal sealed record SizeResult(SizeMethod? Method, IReadOnlyList<RunRecord> BySeed, double Same, double Bytes, double Bound,
    double Milliseconds, double Ratio)
{
    public string Name => Method?.Name ?? "as it was trained";

    public double Accuracy => BySeed.Average(r => r.Accuracy);
}

/// <summary>Measures the finished runs of a <see cref="SizeReproduction"/> and writes them as Markdown.</summary>
internal sealed class SizeResults(SizeReproduction runs, IReadOnlyList<ulong> seeds)
{
    private const int EvaluationBatch = 250;

    private static readonly TimeSpan Burst = TimeSpan.FromSeconds(0.2);

    /// <summary>A network's lines, each of the seeds that are finished.</summary>
    public IReadOnlyList<SizeResult> Measure(string network)
    {
        string start = SizeReproduction.Start(network);
        using Model whole = Model.Open(start);
        using Session first = whole.Session();
        ImagePipeline seen = ImagePipeline.Eval(whole.Card.Preprocessing!);
        float[] image = [.. CalibrationImages.Of(runs.Runs.Test, seen, 1).SelectMany(x => x.ToArray())];
        using var loader = new DataLoader(runs.Runs.Test, seen, EvaluationBatch);
        ModelEvaluation found = new Evaluator(first).Run(loader.Once());
        RunRecord record = new(found.Accuracy, whole.ParameterCount, found.MultiplyAdds, 0, "");
        var rows = new List<SizeResult>
        {
            new(null, [record], 1, new FileInfo(start).Length, BeforeAfter.EntropyBytes(whole), 0, 1),
        };
        foreach (SizeMethod method in runs.Methods)
        {
            string[] names = [.. seeds.Select(s => SizeReproduction.Name(network, method, s))
                .Where(n => runs.Runs.Record(n) is not null)];
            if (names.Length == 0) continue;
            using Model small = runs.Runs.Open(names[0]);
            using Session second = small.Session();
            var (slow, fast) = SideBySide.Milliseconds(first, second, image, Burst);
            rows[0] = rows[0] with { Milliseconds = slow };
            rows.Add(new SizeResult(method, [.. names.Select(n => runs.Runs.Record(n)!)],
                names.Average(n => Same(first, n, seen)), names.Average(n => new FileInfo(runs.Runs.File(n)).Length),
                BeforeAfter.EntropyBytes(small), fast, fast / slow));
        }
        return rows;
    }

    /// <summary>On how many test images a run's network gives the answer of the first one.</summary>
    private double Same(Session first, string name, ImagePipeline seen)
    {
        using Session second = Session.Open(runs.Runs.File(name));
        return SideBySide.Outputs(first, second,
            CalibrationImages.Of(runs.Runs.Test, seen, runs.Runs.Test.Count)).SameAnswer;
    }

    public string Section(IReadOnlyList<(string Network, IReadOnlyList<SizeResult> Rows)> tables, string command)
    {
        var text = new StringBuilder("## Smaller numbers on Fashion-MNIST\n\n");
        foreach (var (network, rows) in tables) text.Append(Verdict(network, rows));
        text.Append(FormattableString.Invariant($"""


            {Notes([.. tables.SelectMany(t => t.Rows)], runs.Steps, runs.Runs.Train.Count)} All
            {runs.Runs.Test.Count:#,0} test images. A line has one accuracy for each of the seeds {string.Join(", ", seeds)} that it was run
            with; "same answer" is on how many of the test images it says what the network says as it was trained. Files are whole, headers
            included; "bound" is of the weights, were codes packed to their entropy. {runs.Runs.Made} {runs.Runs.Hours.Measuring()}

            """));
        foreach (var (network, rows) in tables) text.Append($"\n### {network}\n\n").Append(Table(rows));
        text.Append(FormattableString.Invariant($"""

            Milliseconds are of one image, each line in turn with the network as it was: {Workers.Threads} threads
            ({KernelInfo.Name} kernels); compare the ratios. The first line writes this section, the second says how long that takes:

            ```sh
            {command}
            {Commands.Start} size --plan
            ```

            """));
        return text.ToString();
    }

    /// <summary>How the lines that there are were made.</summary>
    internal static string Notes(IReadOnlyList<SizeResult> rows, long steps, int images)
    {
        SizeMethod[] methods = [.. rows.Select(r => r.Method).OfType<SizeMethod>()];
        bool bits = methods.Any(m => m.Rounding is not null || m.Settings.ContainsKey("bits")), few = bits
            && methods.Any(m => m.Rounding is { WeightBits: < 8 } || m.Settings.GetValueOrDefault("bits") == "4");
        return Sentences.Join(
            "Each network of `models/` by ways to store its weights in less or to split its layers.",
            methods.All(m => m.Untrained) ? "Nothing here trains." : FormattableString.Invariant($"""
                What trains has its own training in its steps, at a tenth of the rate of the network's recipe, without augmentation or
                teacher; the weights of the last step count. {Sentences.Length(steps, 64, images)}
                """),
            methods.Any(m => m.Flops is not null) ? "Low rank is without any training, and without its check by time, which keeps layers whole that two would not be faster than." : null,
            bits ? "Bits are of weights; values have 8." : null,
            few ? "Those of 4 bits compute in integers, too." : null,
            methods.Any(m => m.Method == "ipq") ? "Code books have up to 256 entries." : null);
    }

    /// <summary>What noise gave against plain training with roundings, and parts against whole vectors, in words.</summary>
    internal static string Verdict(string network, IReadOnlyList<SizeResult> rows)
    {
        var text = new StringBuilder($"**{network}.** ");
        if (Of("ptq8") is { } rounded)
            text.Append(FormattableString.Invariant($"8 bits after training: {100 * rounded.Same:0.00} % of the answers stay. "));
        foreach (int bits in new[] { 8, 4 })
            Against($"Quant-Noise at {bits} bits", "QAT", $"noise{bits}", $"qat{bits}");
        Against("Quant-Noise before and in iPQ", "iPQ alone", SizeMethod.Noised, SizeMethod.Product);
        if (Of(SizeMethod.Product) is { } product && Of(SizeMethod.Vector) is { } vector)
        {
            text.Append($"One part instead of many: {Said(vector)} against {Said(product)}. ");
        }
        return text.ToString();

        static string Said(SizeResult r) =>
            FormattableString.Invariant($"{100 * r.Accuracy:0.00} % in {r.Bytes / 1024:0} KiB");

        SizeResult? Of(string id) => rows.FirstOrDefault(r => r.Method?.Id == id);

        void Against(string what, string than, string id, string other)
        {
            if (Of(id) is not { } a || Of(other) is not { } b) return;
            double points = 100 * (a.Accuracy - b.Accuracy);
            text.Append(FormattableString.Invariant($"{what}: {points:+0.00;-0.00} points against {than}. "));
        }
    }

    /// <summary>A network's lines as Markdown.</summary>
    public static string Table(IReadOnlyList<SizeResult> rows)
    {
        SizeResult whole = rows[0];
        var text = new StringBuilder("""
            | line | accuracy, % | by seed | same answer, % | file | bound | MACs | ms an image |
            | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |

            """);
        foreach (SizeResult r in rows)
        {
            double share = 100 * r.Bytes / whole.Bytes, work = r.BySeed.Average(b => b.MultiplyAdds) / 1e6;
            text.AppendLine($"| {r.Name} | {RunRecord.Mean(r.BySeed)} | {RunRecord.List(r.BySeed)} "
                + FormattableString.Invariant($"| {100 * r.Same:0.00} ")
                + FormattableString.Invariant($"| {r.Bytes / 1024:0} KiB ({share:0.0} %) | {r.Bound / 1024:0} KiB ")
                + FormattableString.Invariant($"| {work:0.0} M | {r.Milliseconds:0.000} ({r.Ratio:0.00} x) |"));
        }
        return text.ToString();
    }
}
