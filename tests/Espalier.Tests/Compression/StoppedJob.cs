using Espalier.Compression;
using Espalier.Training;

namespace Espalier.Tests.Compression;

/// <summary>A job that is stopped in its first training and resumed, beside one that is not.</summary>
internal static class StoppedJob
{
    /// <returns>All weights of both, by name.</returns>
    public static (Dictionary<string, float[]> Whole, Dictionary<string, float[]> Resumed) Run(Func<Model> model,
        CompressionMethod method)
    {
        string folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            method = method with { Training = method.Training with { BatchSize = 16, DataThreads = 0 }, RankBatches = 2 };
            Dictionary<string, float[]> whole = Weights(model, method, null, CancellationToken.None);
            CompressionMethod kept = method with { Training = method.Training with { OutputDir = folder } };
            using (var cancel = new CancellationTokenSource())
                Assert.Throws<OperationCanceledException>(() => Weights(model, kept, new StopAt(2, cancel), cancel.Token));
            CompressionMethod goesOn = kept with { Training = kept.Training with { Resume = true } };
            return (whole, Weights(model, goesOn, null, CancellationToken.None));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static Dictionary<string, float[]> Weights(Func<Model> make, CompressionMethod method, ITrainingProgress? progress,
        CancellationToken cancel)
    {
        using Model model = make();
        new CompressionJob(model, CompressionJobs.Data(model.ImageSize), method, progress, cancel).Run();
        return model.Graph.Weights.Values.ToDictionary(w => w.Name, w => w.Tensor.ToArray());
    }

    private sealed class StopAt(long step, CancellationTokenSource cancel) : ITrainingProgress
    {
        public void Step(StepInfo info)
        {
            if (info.Step == step) cancel.Cancel();
        }

        public void Evaluating(long step, int batch, int batches)
        {
        }

        public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest)
        {
        }

        public void Message(string text)
        {
        }
    }
}
