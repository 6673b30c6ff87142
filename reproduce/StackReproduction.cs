using System.Text;
using Espalier.Cli;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Reproduce;

/// <summary>A transformer after so many of the steps.</summary>
/// <param name="Accuracy">Null where the weights are random.</param>
/// <param name="MultiplyAdds">Of an image, on average.</param>
/// <param name="Speed">Images a second, eight at a time.</param>
internal sealed record StackResult(string Name, double? Accuracy, long Bytes, double MultiplyAdds, double Speed);

/// <summary>
/// Methods one after another on one transformer: NViT removes widths, APT drops tokens of what is left, and eight bits hold the
/// rest. Once on the trained transformer, for the accuracy, and once with the same shares on ViT-B/16 with random weights, for the
/// speed beside ONNX Runtime with the whole network.
/// </summary>
internal sealed class StackReproduction(CommandContext context, string folder, ComparisonRuns vit)
{
    private const int Batch = 8, Rounds = 7, CalibrationCount = 128, Few = 4, LargeSize = 224;
    private const double Share = 0.5;
    private const string Large = "ViT-B_16", ByNvit = "nvit", ByApt = "apt", InBits = "int8";
    private const ulong Seed = 1;

    private readonly NetworkRuns large = new(context, Path.Combine(folder, "large"), Sample(), LargeSize, hours: vit.Runs.Hours);

    /// <summary>Makes what is not made yet, measures and gives the section of the page.</summary>
    public string Section()
    {
        NetworkRuns runs = vit.Runs;
        RunRecord narrow = runs.Do(ByNvit, () => Model.Open(vit.Start.File), vit.Tuned(Narrowing(vit.Steps)), job => job.Run());
        RunRecord dropping = runs.Do(ByApt, () => runs.Open(ByNvit), vit.Tuned(Dropping(vit.Steps)), job => job.Run());
        RunRecord bits = Quantised(runs, vit.Tuned);
        large.Do(ByNvit, () => large.New(Large, 1, Seed), Shortly(Narrowing(Few)), job => job.Run());
        large.Do(ByApt, () => large.Open(ByNvit), Shortly(Dropping(Few)), job => job.Run());
        Quantised(large, Shortly);
        context.Cancel.ThrowIfCancellationRequested();

        using Model start = Model.Open(vit.Start.File);
        ModelEvaluation whole;
        using (Session session = start.Session())
            whole = new EvaluationRun(context, session, runs.Test, 250).Run("whole", prune: false);
        StackResult[] trained = Measure(runs, start, null, [whole.Accuracy, narrow.Accuracy, dropping.Accuracy, bits.Accuracy]);
        using Model wholeLarge = large.New(Large, 1, Seed);
        StackResult[] random = Measure(large, wholeLarge, dropping.MultiplyAdds / narrow.MultiplyAdds, null);
        context.Terminal.Line(Table(trained));
        context.Terminal.Line(Table(random));
        return Text(trained, random);
    }

    /// <summary>How long the trainings will take on this machine, by a few steps.</summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates()
    {
        Model Open() => Model.Open(vit.Start.File);
        yield return ("NViT", vit.Runs.Estimate(Open, few => vit.Tuned(Narrowing(few)), job => job.Run(), vit.Steps));
        yield return ("APT, as if of the whole network", vit.Runs.Estimate(Open, few => vit.Tuned(Dropping(few)), job => job.Run(), vit.Steps));
        yield return ($"{Large}, {2 * Few} steps, as if of the whole network", large.Estimate(() => large.New(Large, 1, Seed),
            _ => Shortly(new CompressionOptions { Seed = Seed }), job => job.Train("train", 2), 2 * Few));
    }

    private static DatasetPair Sample()
    {
        DatasetPair pair = Datasets.OpenSample();
        return pair with { Test = Subset.First(pair.Test, 32) };
    }

    private static CompressionMethod Narrowing(long steps) => Line(ByNvit).Options(steps, Share, Seed);

    private static CompressionMethod Dropping(long steps) => Line(ByApt).Options(steps, Share, Seed);

    private static ComparedMethod Line(string id) => ComparedMethod.Transformers.Single(m => m.Id == id);

    private static CompressionOptions Shortly(CompressionOptions options) => options with
    {
        Training = new() { BatchSize = 2, LearningRate = 1e-5f }, RankBatches = 1,
    };

    private static RunRecord Quantised(NetworkRuns runs, Func<CompressionOptions, CompressionOptions> tuned) =>
        runs.Do(InBits, () => runs.Open(ByApt), tuned(new CompressionOptions { Seed = Seed }), job =>
            PostTraining.Run(job.Model.Graph, CalibrationImages.Of(job.Data.Train, job.Data.EvaluationPipeline, CalibrationCount)));

    /// <summary>The whole network in ONNX Runtime and here, then what is left after each step.</summary>
    /// <param name="tokens">Share of the multiply-adds that dropping tokens is to leave, for agents that have learnt nothing; null
    /// for their own threshold.</param>
    private StackResult[] Measure(NetworkRuns runs, Model start, double? tokens, double[]? accuracies)
    {
        string onnx = Path.Combine(folder, "whole.onnx");
        start.ExportOnnx(onnx);
        using var peer = new OnnxPeer(onnx);
        Session[] sessions = [start.Session(), .. new[] { ByNvit, ByApt, InBits }.Select(n => Session.Open(runs.File(n)))];
        try
        {
            using var scope = new Scope();
            IReadOnlyList<Tensor> images = ModelSpeed.Batches(runs.Test, sessions[0], Batch, 4);
            Pruning[] pruning = [.. sessions.Select(s => s.AgentLayers.Count == 0 ? Pruning.None
                : tokens is { } share ? Pruning.KeepShare(Kept(s, share)) : s.Pruning)];
            double[] speeds = ModelSpeed.ImagesPerSecond([new(x => peer.Run(x), images),
                .. sessions.Select((s, i) => new ModelSpeed.Timed(ModelSpeed.Pass(s, pruning[i]), images))], Rounds);
            string[] names = ["whole", "NViT", "NViT, APT", "NViT, APT, int8"];
            long[] bytes = [BeforeAfter.Bytes(start), .. new[] { ByNvit, ByApt, InBits }.Select(n => new FileInfo(runs.File(n)).Length)];
            return [new("whole, ONNX Runtime", accuracies?[0], new FileInfo(onnx).Length, sessions[0].DenseMultiplyAdds, speeds[0]),
                .. sessions.Select((s, i) => new StackResult(names[i], accuracies?[i], bytes[i],
                    BenchWork.Inference(s, pruning[i], images[0]).MultiplyAdds!.Value, speeds[i + 1]))];
        }
        finally
        {
            foreach (Session s in sessions) s.Dispose();
            File.Delete(onnx);
        }
    }

    /// <summary>The largest share of tokens, in steps of 0.01, with which no more than a share of the multiply-adds is left.</summary>
    internal static double Kept(Session session, double share)
    {
        int patches = session.Tokens - session.PrefixTokens;
        for (int hundredths = 99; hundredths > 1; hundredths--)
        {
            int[] tokens = new int[1 + session.AgentLayers.Count];
            int left = patches;
            tokens[0] = session.Tokens;
            for (int i = 1; i < tokens.Length; i++)
            {
                left = (int)Math.Ceiling(left * hundredths / 100.0);
                tokens[i] = session.PrefixTokens + left;
            }
            if (session.MultiplyAdds(tokens) <= share * session.DenseMultiplyAdds) return hundredths / 100.0;
        }
        throw new EspalierException(FormattableString.Invariant($"dropping tokens cannot leave {share:0.00} of the multiply-adds"));
    }

    private string Text(StackResult[] trained, StackResult[] random)
    {
        double times = random[^1].Speed / random[0].Speed;
        return FormattableString.Invariant($"""
            ## Methods one after another

            NViT to {Share:0.##} of the multiply-adds, then APT to {Share:0.##} of these, then eight bits: on ViT-B/16's shape
            {times:0.0} times as fast as ONNX Runtime with the whole network, {Batch} images at a time. The trained transformer
            goes from {100 * trained[1].Accuracy:0.00} to {100 * trained[^1].Accuracy:0.00} %.

            `{Path.GetFileName(vit.Start.File)}`, {vit.Steps} steps of {ComparisonRuns.BatchSize} images for each of the first two:

            {Table(trained)}
            ViT-B/16 with random weights and {Few} steps, as many tokens dropped by rank as leave the share of the multiply-adds that
            APT left above:

            {Table(random)}
            {Batch} images at a time, {Workers.Threads} threads ({KernelInfo.Name} kernels), all in turn, the median of {Rounds} rounds.
            Multiply-adds are means over images. {vit.Runs.Made} With random weights: {large.Made} {vit.Runs.Hours.Measuring()} The command:

            ```sh
            {GivenCommand.Of(context, "stack")}
            ```

            """);
    }

    /// <summary>As Markdown, speeds beside the first row's.</summary>
    public static string Table(StackResult[] rows)
    {
        var text = new StringBuilder("""
            | network | accuracy, % | file | MACs | images/s | |
            | --- | ---: | ---: | ---: | ---: | ---: |

            """);
        foreach (StackResult r in rows)
            text.AppendLine(FormattableString.Invariant($"| {r.Name} | {100 * r.Accuracy:0.00} | {r.Bytes / 1e6:0.00} MB ")
                + FormattableString.Invariant($"| {r.MultiplyAdds / 1e6:0.0} M | {r.Speed:0.0} | {r.Speed / rows[0].Speed:0.00} x |"));
        return text.ToString();
    }
}
