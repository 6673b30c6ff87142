using System.Globalization;
using Espalier.Training;

namespace Espalier.Compression;

/// <summary>A model that was made smaller, beside what it was before.</summary>
/// <param name="Model">The caller's.</param>
/// <param name="Job">What was removed, trained and chosen on the way.</param>
public sealed record CompressedModel(Model Model, Comparison Comparison, CompressionJob Job)
{
    public ModelNumbers Before => Comparison.Before;

    public ModelNumbers After => Comparison.After;

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
            var comparison = new BeforeAfter(job, model);
            job.Run();
            return new CompressedModel(small, comparison.Measure(BurstTime), job);
        }
        catch
        {
            small.Dispose();
            throw;
        }
    }
}
