using System.Globalization;
using Espalier.Benchmarking;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression;

/// <summary>What a model is and does.</summary>
/// <param name="MultiplyAdds">Of one image of which nothing is dropped.</param>
/// <param name="Accuracy">On the evaluation images.</param>
/// <param name="Milliseconds">Median of one image through a session, both models of a comparison in turn.</param>
public sealed record ModelNumbers(long Parameters, double MultiplyAdds, double Accuracy, double Milliseconds);

/// <summary>A model that was made smaller, beside what it was before.</summary>
/// <param name="Model">The caller's.</param>
/// <param name="Job">What was removed, trained and chosen on the way.</param>
public sealed record CompressedModel(Model Model, ModelNumbers Before, ModelNumbers After, CompressionJob Job)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"parameters {Before.Parameters} -> {After.Parameters}, multiply-adds {Before.MultiplyAdds:0} -> {After.MultiplyAdds:0}, accuracy "
        + $"{Before.Accuracy:0.0%} -> {After.Accuracy:0.0%}, {Before.Milliseconds:0.000} -> {After.Milliseconds:0.000} ms an image");
}

/// <summary>From a model to a smaller one in one call.</summary>
public static class ModelCompression
{
    private static readonly TimeSpan BurstTime = TimeSpan.FromSeconds(0.1);

    /// <summary>
    /// Makes a copy smaller by a method, which is told how much and how; the model stays as it is. Both are evaluated and timed.
    /// </summary>
    /// <exception cref="EspalierException">The method has nothing to work on in this model, or an option is out of its range.
    /// </exception>
    public static CompressedModel Compress(this Model model, CompressionMethod method, TrainingData data,
        ITrainingProgress? progress = null, CancellationToken cancel = default)
    {
        Model small = model.Copy();
        try
        {
            var job = new CompressionJob(small, data, method, progress, cancel);
            double before = job.Evaluate().Scalars["accuracy"];
            job.Run();
            double after = job.Evaluate().Scalars["accuracy"];
            using Session first = model.Session(), second = small.Session();
            using var scope = new Scope();
            float[] image = job.Example(1).ToArray();
            IReadOnlyList<long[]> samples = new Rounds { MinTime = BurstTime }.Measure(Pass(first, image), Pass(second, image));
            return new CompressedModel(small, Of(model, first, before, samples[0]), Of(small, second, after, samples[1]), job);
        }
        catch
        {
            small.Dispose();
            throw;
        }

        static ModelNumbers Of(Model model, Session session, double accuracy, long[] nanoseconds) =>
            new(model.ParameterCount, session.DenseMultiplyAdds, accuracy, SampleStatistics.Of(nanoseconds).P50 / 1e6);
    }

    private static Action Pass(Session session, float[] image)
    {
        var logits = new float[session.NumClasses];
        return () => session.Run(image, 1, logits);
    }
}
