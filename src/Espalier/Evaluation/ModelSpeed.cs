using Espalier.Benchmarking;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Evaluation;

/// <summary>Images a second of several models, measured in turn on the same images.</summary>
public static class ModelSpeed
{
    /// <summary>What is timed of one model.</summary>
    /// <param name="Pass">Runs one batch [N, C, S, S].</param>
    /// <param name="Batches">What it runs on; decoded before the clock starts.</param>
    public sealed record Timed(Action<Tensor> Pass, IReadOnlyList<Tensor> Batches);

    /// <returns>Images a second of each model, by the median over the rounds.</returns>
    public static double[] ImagesPerSecond(IReadOnlyList<Timed> models, int rounds)
    {
        IReadOnlyList<long[]> samples = new Rounds { Repeats = rounds }.Measure([.. models.Select(m => (Action)(() =>
        {
            foreach (Tensor batch in m.Batches)
            {
                using var scope = new Scope();
                m.Pass(batch);
            }
        }))]);
        return [.. samples.Select((s, i) => models[i].Batches.Sum(b => b.Shape[0]) * 1e9 / Math.Max(1, SampleStatistics.Of(s).P50))];
    }

    /// <summary>The first images of a data set as batches for a model.</summary>
    public static IReadOnlyList<Tensor> Batches(IImageDataset data, Session model, int size, int count)
    {
        using var loader = new DataLoader(data, ImagePipeline.Eval(model.Preprocessing), size);
        return [.. loader.Once().Take(count).Select(b => b.ToTensor(model.Channels, model.ImageSize))];
    }

    /// <summary>A pass of this model.</summary>
    public static Action<Tensor> Pass(Session model, Pruning pruning)
    {
        float[] logits = [];
        return images =>
        {
            int batch = images.Shape[0], count = batch * model.ResultValues;
            if (logits.Length != count) logits = new float[count];
            model.Run(images.Span, batch, logits, pruning);
        };
    }
}
