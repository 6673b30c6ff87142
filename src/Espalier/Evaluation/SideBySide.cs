using Espalier.Benchmarking;
using Espalier.Inference;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Evaluation;

/// <summary>How far one network's output is another's.</summary>
/// <param name="Cosine">Between the two outputs of an image, the mean; 0 for an image where one has none.</param>
/// <param name="SameAnswer">Share of the images whose largest value is in the same place.</param>
public sealed record OutputComparison(double Cosine, double SameAnswer);

/// <summary>Two networks of the same input and outputs, side by side.</summary>
public static class SideBySide
{
    /// <param name="batches">[n, C, S, S] each.</param>
    public static OutputComparison Outputs(Session first, Session second, IEnumerable<Tensor> batches)
    {
        double cosine = 0;
        int images = 0, same = 0, width = first.NumClasses;
        foreach (Tensor batch in batches)
        {
            int count = batch.Shape[0];
            float[] a = new float[count * width], b = new float[count * width];
            first.Run(batch.Span, count, a);
            second.Run(batch.Span, count, b);
            for (int i = 0; i < count; i++)
            {
                ReadOnlySpan<float> x = a.AsSpan(i * width, width), y = b.AsSpan(i * width, width);
                float both = TensorPrimitives.CosineSimilarity(x, y);
                cosine += float.IsNaN(both) ? 0 : both;
                if (TensorPrimitives.IndexOfMax(x) == TensorPrimitives.IndexOfMax(y)) same++;
            }
            images += count;
        }
        return new OutputComparison(cosine / Math.Max(1, images), (double)same / Math.Max(1, images));
    }

    /// <summary>Median milliseconds of one image through each: quick passes in bursts, the two in turn, so that what disturbs the
    /// machine disturbs both.</summary>
    /// <param name="burst">How long each is run before it is the other's turn.</param>
    public static (double First, double Second) Milliseconds(Session first, Session second, float[] image, TimeSpan burst)
    {
        IReadOnlyList<long[]> samples = new Rounds { MinTime = burst }.Measure(Pass(first), Pass(second));
        return (Median(samples[0]), Median(samples[1]));

        Action Pass(Session session)
        {
            float[] output = new float[session.NumClasses];
            return () => session.Run(image, 1, output);
        }

        static double Median(long[] nanoseconds) => SampleStatistics.Of(nanoseconds).P50 / 1e6;
    }
}
