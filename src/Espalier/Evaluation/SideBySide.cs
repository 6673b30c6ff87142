using Espalier.Benchmarking;
using Espalier.Inference;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Evaluation;

/// <summary>How far one network's output is another's.</summary>
/// <param name="Cosine">Between the two outputs of an image, the mean; 0 for an image where one has none.</param>
/// <param name="SameAnswer">Share of the images, or of the places of their maps, with the largest value in the same class of the first
/// output.</param>
public sealed record OutputComparison(double Cosine, double SameAnswer);

/// <summary>Two networks of the same input and outputs, side by side.</summary>
public static class SideBySide
{
    /// <param name="batches">[n, C, S, S] each.</param>
    public static OutputComparison Outputs(Session first, Session second, IEnumerable<Tensor> batches)
    {
        double cosine = 0, same = 0;
        int images = 0;
        foreach (Tensor batch in batches)
        {
            int count = batch.Shape[0], start = 0;
            float[] a = new float[count * first.ResultValues], b = new float[count * first.ResultValues];
            first.Run(batch.Span, count, a);
            second.Run(batch.Span, count, b);
            for (int output = 0; output < first.OutputValues.Count; start += count * first.OutputValues[output++])
            {
                int width = first.OutputValues[output];
                for (int i = 0; i < count; i++)
                {
                    ReadOnlySpan<float> x = a.AsSpan(start + i * width, width), y = b.AsSpan(start + i * width, width);
                    float both = TensorPrimitives.CosineSimilarity(x, y);
                    cosine += float.IsNaN(both) ? 0 : both / first.OutputValues.Count;
                    if (output == 0) same += Same(x, y, first.Places);
                }
            }
            images += count;
        }
        return new OutputComparison(cosine / Math.Max(1, images), same / Math.Max(1, images));
    }

    /// <param name="x">[classes, places] of an image, as <paramref name="y"/>.</param>
    /// <returns>The share of the places where both have the same class.</returns>
    private static double Same(ReadOnlySpan<float> x, ReadOnlySpan<float> y, int places)
    {
        int same = 0;
        for (int place = 0; place < places; place++)
        {
            if (ClassOf(x, places, place) is { } a && a == ClassOf(y, places, place)) same++;
        }
        return (double)same / places;
    }

    /// <summary>The channel with the largest value; of one channel alone, whose sign tells foreground from background, whether it is
    /// positive. Null where a value is no number.</summary>
    private static int? ClassOf(ReadOnlySpan<float> maps, int places, int place)
    {
        int channels = maps.Length / places, best = 0;
        for (int c = 0; c < channels; c++)
        {
            float value = maps[c * places + place];
            if (float.IsNaN(value)) return null;
            if (value > maps[best * places + place]) best = c;
        }
        return channels > 1 ? best : maps[place] > 0 ? 1 : 0;
    }

    /// <summary>Median milliseconds of an image through each: quick passes in bursts, the two in turn, so that what disturbs the
    /// machine disturbs both.</summary>
    /// <param name="images">Those of a pass, one after another.</param>
    /// <param name="burst">How long each is run before it is the other's turn.</param>
    /// <param name="count">Images of a pass.</param>
    public static (double First, double Second) Milliseconds(Session first, Session second, float[] images, TimeSpan burst, int count = 1)
    {
        // Several images go through the code that one has warmed up.
        Rounds rounds = count == 1 ? new Rounds { MinTime = burst, SettleTime = burst }
            : new Rounds { MinTime = burst, Repeats = 5, SettleTime = burst / 6 };
        IReadOnlyList<long[]> samples = rounds.Measure(Pass(first), Pass(second));
        return (Median(samples[0]), Median(samples[1]));

        Action Pass(Session session)
        {
            float[] output = new float[count * session.ResultValues];
            return () => session.Run(images, count, output);
        }

        double Median(long[] nanoseconds) => SampleStatistics.Of(nanoseconds).P50 / 1e6 / count;
    }
}
