using System.Text;
using Espalier.Cli;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Reproduce;

/// <summary>One method on a large transformer with random weights.</summary>
/// <param name="MultiplyAdds">Share of the whole network's, the mean over the images that were timed.</param>
/// <param name="Time">Share of the whole network's time, sixteen images at a time.</param>
/// <param name="Onnx">How far ONNX Runtime's logits are off on these images, relative to the largest.</param>
internal sealed record ShapeResult(string Name, long Parameters, double MultiplyAdds, double Time, double Onnx)
{
    /// <summary>How much more of the time is left than of the multiply-adds.</summary>
    public double Excess => Time / MultiplyAdds;
}

/// <summary>
/// Whether fewer multiply-adds are less time on a transformer of full size: every method takes a few steps on random weights, and
/// its file is opened with nothing else, timed beside the whole network and run by ONNX Runtime. Accuracies mean nothing here.
/// </summary>
internal sealed class ShapeReproduction(
    CommandContext context, string folder, string network, int size, double budget, IReadOnlyList<ComparedMethod> methods)
{
    private const int Steps = 4, BatchSize = 4, Timed = 16, Rounds = 7;
    private const string Whole = "whole";
    private const ulong Seed = 1;

    private readonly string asked = FormattableString.Invariant($"{network}-{budget:0.##}");
    private readonly NetworkRuns runs = new(context, folder, Small(Datasets.OpenSample()), size);
    private readonly List<string> refused = [];

    /// <summary>Makes what is not made yet, measures all and gives the section of the page.</summary>
    public string Section()
    {
        var done = new List<ComparedMethod>();
        runs.Do(Name(Whole), New, Options(new CompressionOptions { Seed = Seed }), job => job.Train("train", 1));
        foreach (ComparedMethod method in methods)
        {
            try
            {
                runs.Do(Name(method.Id), New, Options(method.Options(Steps, budget, Seed)), job => ShareTargets.Run(job, budget));
                done.Add(method);
            }
            catch (EspalierException e)
            {
                context.Terminal.Line($"{method.Name} is left out: {e.Message}");
                refused.Add($"{method.Name} ({e.Message})");
            }
        }
        ShapeResult[] rows = Measure(done);
        context.Terminal.Line(Table(rows));
        return Text(rows);
    }

    /// <summary>How long it will take on this machine, by a step and a pass of the whole network, as if no method did more than train.
    /// </summary>
    public IEnumerable<(string Name, TimeSpan Time)> Estimates()
    {
        yield return ($"{network}, {methods.Count} methods, as if each only trained", methods.Count * runs.Estimate(New,
            _ => Options(new CompressionOptions { Seed = Seed }), job => job.Train("train", 2), Steps));
        using var scope = new Scope();
        using Model model = New();
        using Session session = model.Session();
        IReadOnlyList<Tensor> images = ModelSpeed.Batches(runs.Test, session, Timed, 1);
        double second = ModelSpeed.ImagesPerSecond([new(ModelSpeed.Pass(session, session.Pruning), images)], 1)[0];
        yield return ("test images and rounds, as if nothing was removed",
            (methods.Count + 1) * TimeSpan.FromSeconds((runs.Test.Count + (Rounds + 2) * Timed) / second));
    }

    /// <summary>A run's files: those of another network or share are others.</summary>
    private string Name(string id) => $"{asked}-{id}";

    private static DatasetPair Small(DatasetPair pair) => pair with { Test = Subset.First(pair.Test, 64) };

    /// <summary>A new head is zero: no gradient would come through it, and no method could tell channels apart.</summary>
    private Model New()
    {
        Model model = runs.New(network, 1, Seed);
        var rng = new Rng(Seed);
        foreach (ref float x in model.Graph.Weights["head.weight"].Tensor.Span) x = rng.NextFloat(-0.1f, 0.1f);
        return model;
    }

    private static CompressionOptions Options(CompressionOptions options) => options with
    {
        Training = new() { BatchSize = BatchSize, LearningRate = 1e-5f }, RankBatches = 1,
    };

    private ShapeResult[] Measure(List<ComparedMethod> done)
    {
        Session[] sessions = [.. done.Select(m => m.Id).Prepend(Whole).Select(id => Session.Open(runs.File(Name(id))))];
        try
        {
            using var scope = new Scope();
            IReadOnlyList<Tensor> images = ModelSpeed.Batches(runs.Test, sessions[0], Timed, 1);
            double[] speeds = ModelSpeed.ImagesPerSecond(
                [.. sessions.Select(s => new ModelSpeed.Timed(ModelSpeed.Pass(s, s.Pruning), images))], Rounds);
            double whole = sessions[0].DenseMultiplyAdds;
            return [.. done.Zip(sessions.Skip(1), speeds.Skip(1)).Select(r => new ShapeResult(r.First.Name, r.Second.ParameterCount,
                BenchWork.Inference(r.Second, r.Second.Pruning, images[0]).MultiplyAdds!.Value / whole, speeds[0] / r.Third,
                Onnx(r.First, r.Second, images[0])))];
        }
        finally
        {
            foreach (Session s in sessions) s.Dispose();
        }
    }

    private double Onnx(ComparedMethod method, Session session, Tensor images)
    {
        string file = Path.Combine(folder, method.Id + ".onnx");
        using (Model model = runs.Open(Name(method.Id))) model.ExportOnnx(file);
        try
        {
            using var peer = new OnnxPeer(file);
            float[] logits = new float[images.Shape[0] * session.NumClasses];
            session.Run(images.Span, images.Shape[0], logits);
            return OnnxPeer.Difference(peer.Run(images), logits);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private string Text(ShapeResult[] rows)
    {
        string Names(IEnumerable<ShapeResult> some) => string.Join(", ", some.Select(r => r.Name).DefaultIfEmpty("none"));
        var text = new StringBuilder("## Vision transformers of full size\n\n");
        text.Append(FormattableString.Invariant($"""
            {rows.Length} methods on {network} with random weights, {Steps} steps of {BatchSize} images, told to leave {budget:0.##} of the
            multiply-adds: whether time falls with them. Within 10 %: {Names(rows.Where(r => r.Excess <= 1.1))}; not: {Names(rows.Where(r => r.Excess > 1.1))}.


            """)).Append(Table(rows));
        if (refused.Count > 0) text.Append("\nLeft out: ").AppendJoin("; ", refused).Append(".\n");
        text.Append(FormattableString.Invariant($"""

            {Timed} images of {size} pixels at a time, {Workers.Threads} threads ({KernelInfo.Name} kernels), all networks in turn, the
            median of {Rounds} rounds. Multiply-adds are means over these images. The last column says how far the logits of ONNX
            Runtime on the exported file are off, relative to the largest. {runs.Made} {runs.Hours.Measuring()} The command:

            ```sh
            {GivenCommand.Of(context, "shapes")}
            ```

            """));
        return text.ToString();
    }

    /// <summary>As Markdown.</summary>
    public static string Table(IEnumerable<ShapeResult> rows)
    {
        var text = new StringBuilder("""
            | method | parameters | share of MACs | share of the time | time / MACs | ONNX Runtime |
            | --- | ---: | ---: | ---: | ---: | ---: |

            """);
        foreach (ShapeResult r in rows)
            text.AppendLine(FormattableString.Invariant($"| {r.Name} | {r.Parameters / 1e6:0.00} M | {r.MultiplyAdds:0.000} ")
                + FormattableString.Invariant($"| {r.Time:0.000} | {r.Excess:0.00} | {r.Onnx:0.0e0} |"));
        return text.ToString();
    }
}
