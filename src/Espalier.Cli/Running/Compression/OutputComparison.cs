using Espalier.Compression;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>How far the smaller network's output is the whole network's, on images that nothing was fitted to.</summary>
/// <param name="Cosine">Between the two outputs of an image, the mean.</param>
/// <param name="SameAnswer">Share of the images whose largest value is in the same place.</param>
internal sealed record OutputComparison(int Images, double Cosine, double SameAnswer)
{
    private const int MostImages = 512;

    public static OutputComparison Of(TemporaryModel original, Model smaller, CompressInput input)
    {
        using Session before = Session.Open(original.Path), after = smaller.Session();
        double cosine = 0;
        int images = 0, same = 0, width = before.NumClasses;
        foreach (Tensor batch in CalibrationImages.Of(input.Data.Evaluation, input.Data.EvaluationPipeline, MostImages))
        {
            int count = batch.Shape[0];
            float[] a = new float[count * width], b = new float[count * width];
            before.Run(batch.Span, count, a);
            after.Run(batch.Span, count, b);
            for (int i = 0; i < count; i++)
            {
                ReadOnlySpan<float> x = a.AsSpan(i * width, width), y = b.AsSpan(i * width, width);
                float both = System.Numerics.Tensors.TensorPrimitives.CosineSimilarity(x, y);
                cosine += float.IsNaN(both) ? 0 : both;
                if (System.Numerics.Tensors.TensorPrimitives.IndexOfMax(x) == System.Numerics.Tensors.TensorPrimitives.IndexOfMax(y)) same++;
            }
            images += count;
        }
        return new OutputComparison(images, cosine / Math.Max(1, images), (double)same / Math.Max(1, images));
    }
}
