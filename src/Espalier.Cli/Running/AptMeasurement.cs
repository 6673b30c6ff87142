using System.Diagnostics;
using Espalier.Compression.Apt;
using Espalier.Data;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>
/// Images a second of several models, measured in turn on the same batches, so that a machine whose speed drifts is the same
/// for all. The median over the rounds counts.
/// </summary>
internal static class AptMeasurement
{
    private const int WarmUpRounds = 3;

    /// <param name="passes">Each runs one batch [N, C, S, S].</param>
    /// <param name="batches">What they run on; decoded before the clock starts.</param>
    /// <returns>Images a second of each pass.</returns>
    public static double[] ImagesPerSecond(IReadOnlyList<Action<Tensor>> passes, IReadOnlyList<Tensor> batches, int rounds)
    {
        var seconds = passes.Select(_ => new List<double>()).ToArray();
        for (int round = -WarmUpRounds; round < rounds; round++)
        {
            for (int i = 0; i < passes.Count; i++)
            {
                long start = Stopwatch.GetTimestamp();
                foreach (Tensor batch in batches)
                {
                    using var scope = new Scope();
                    passes[i](batch);
                }
                if (round >= 0) seconds[i].Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
            }
        }
        double images = batches.Sum(b => b.Shape[0]);
        return [.. seconds.Select(s => images / s.Order().ElementAt(s.Count / 2))];
    }

    /// <summary>The first test images as batches for a model.</summary>
    public static IReadOnlyList<Tensor> Batches(IImageDataset data, VitConfig config, int size, int count)
    {
        using var loader = new DataLoader(data, ImagePipeline.Eval(config.ImageSize, config.Channels), size);
        return [.. loader.Once().Take(count).Select(b => b.ToTensor(config))];
    }

    /// <summary>A pass of this model, pruned where agents are given.</summary>
    public static Action<Tensor> Pass(VisionTransformer vit, AptModel? apt) => images =>
    {
        if (apt is null) vit.Forward(images);
        else apt.Forward(images);
    };
}
