using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>What a network is and does.</summary>
/// <param name="MultiplyAdds">Of one image: the mean of some where tokens are dropped.</param>
/// <param name="Accuracy">On the evaluation images, 0 to 1; without labels the share of them for which it answers as the network before
/// does.</param>
/// <param name="Bytes">Of its file.</param>
/// <param name="Milliseconds">Median of one image through a session, both networks of a comparison in turn.</param>
/// <param name="MillisecondsOfBatch">The same of an image among <see cref="BeforeAfter.TimedBatch"/> at a time; 0 where it was not
/// measured.</param>
public sealed record ModelNumbers(long Parameters, double MultiplyAdds, double Accuracy, long Bytes, double Milliseconds,
    double MillisecondsOfBatch = 0);

/// <summary>A layer, or layers that go together, that could lose channels.</summary>
/// <param name="Name">As of a <see cref="ChannelGroup"/>.</param>
/// <param name="Layers">Those that become smaller with it.</param>
/// <param name="Kept">Of <paramref name="Channels"/>.</param>
public sealed record CompressedGroup(string Name, IReadOnlyList<string> Layers, int Channels, int Kept);

/// <summary>Two networks, one made smaller from the other.</summary>
/// <param name="Outputs">On held-out images.</param>
/// <param name="Groups">Those of the network before; such as are not there any more have kept nothing.</param>
public sealed record Comparison(ModelNumbers Before, ModelNumbers After, OutputComparison Outputs, IReadOnlyList<CompressedGroup> Groups);

/// <summary>Measures a job's model before and after: made when the job has not run yet, asked when it has.</summary>
public sealed class BeforeAfter
{
    /// <summary>Images at a time that are timed, besides one.</summary>
    public const int TimedBatch = 16;

    private const int MostImages = 512;

    private readonly CompressionJob job;
    private readonly Model original;
    private readonly bool labelled;
    private readonly string? output;
    private readonly ModelNumbers before;
    private readonly CompressedGroup[] groups;

    /// <param name="original">The job's model as it is now; stays the caller's, to be kept until the comparison is made.</param>
    /// <param name="labelled">Whether the evaluation images have labels.</param>
    /// <param name="output">Where the result goes, whose kind of file is measured; null for safetensors.</param>
    public BeforeAfter(CompressionJob job, Model original, bool labelled = true, string? output = null)
    {
        (this.job, this.original, this.labelled, this.output) = (job, original, labelled, output);
        using DependencyGraph graph = job.Graph();
        groups = [.. graph.Groups.Select(g => new CompressedGroup(g.Name, g.Layers, g.Count, g.Count))];
        before = Numbers(original, graph, labelled ? job.Evaluate().Scalars["accuracy"] : 1);
    }

    /// <param name="burst">How long one of the two is timed before it is the other's turn.</param>
    public Comparison Measure(TimeSpan burst)
    {
        using Session whole = original.Session(), left = job.Model.Session();
        OutputComparison outputs = SideBySide.Outputs(whole, left, job.EvaluationBatches(MostImages));
        using DependencyGraph graph = job.Graph();
        ModelNumbers after = Numbers(job.Model, graph, labelled ? job.Evaluate().Scalars["accuracy"] : outputs.SameAnswer);
        if (left.Pruning.IsUneven) after = after with { MultiplyAdds = Mean(left, job.EvaluationBatches(MostImages)) };
        Dictionary<string, int> kept = graph.Groups.ToDictionary(g => g.Name, g => g.Count);
        using var scope = new Scope();
        float[] image = job.Example(1).ToArray(), batch = [.. Enumerable.Repeat(image, TimedBatch).SelectMany(x => x)];
        // Where images decide how many tokens stay, the sixteen are sixteen images.
        Tensor some = job.Example(TimedBatch);
        if (some.Shape[0] == TimedBatch) some.Span.CopyTo(batch);
        var (first, second) = SideBySide.Milliseconds(whole, left, image, burst);
        var (firstOfBatch, secondOfBatch) = SideBySide.Milliseconds(whole, left, batch, burst, TimedBatch);
        return new Comparison(before with { Milliseconds = first, MillisecondsOfBatch = firstOfBatch },
            after with { Milliseconds = second, MillisecondsOfBatch = secondOfBatch }, outputs,
            [.. groups.Select(g => g with { Kept = kept.GetValueOrDefault(g.Name) })]);
    }

    /// <summary>Multiply-adds of an image where each decides how many tokens stay.</summary>
    private static double Mean(Session session, IEnumerable<Tensor> batches)
    {
        var trace = new TokenTrace();
        double sum = 0;
        int images = 0;
        foreach (Tensor batch in batches)
        {
            int count = batch.Shape[0];
            session.Run(batch.Span, count, new float[count * session.ResultValues], trace);
            for (int b = 0; b < count; b++) sum += session.MultiplyAdds(trace.Counts(b));
            images += count;
        }
        return sum / Math.Max(1, images);
    }

    private ModelNumbers Numbers(Model model, DependencyGraph graph, double accuracy) =>
        new(model.ParameterCount, graph.MultiplyAdds(), accuracy, Bytes(model, output), 0);

    /// <summary>Bytes that the model's weights would take if their codes were packed to their entropy; of floats four bytes each.</summary>
    public static long EntropyBytes(Model model) => (long)Math.Ceiling(Files.StoredCodes.EntropyBytes(model.Graph));

    /// <summary>Bytes that the model's file takes.</summary>
    /// <param name="output">A path that says which kind of file; null for safetensors.</param>
    public static long Bytes(Model model, string? output = null)
    {
        if (output is not null && OnnxNetwork.Is(output)) return OnnxFile.Length(model, output);
        string path = Path.Combine(Path.GetTempPath(), $"espalier-{Guid.NewGuid():n}.safetensors");
        try
        {
            model.Save(path);
            return new FileInfo(path).Length;
        }
        finally
        {
            File.Delete(path);
        }
    }
}
