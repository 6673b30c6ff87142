using Espalier.Data;
using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>Images to look at, without labels: as a network wants them, as in inference and without augmentation.</summary>
public static class CalibrationImages
{
    /// <summary>Images of a batch at most; there are two batches at least, for halves to be compared.</summary>
    private const int MostOfBatch = 64;

    /// <summary>
    /// Batches [n, C, S, S] of so many pictures, spread evenly over the data set; fewer where it has fewer. The sequence may be gone
    /// through again; each batch is good until the next is asked for.
    /// </summary>
    /// <exception cref="EspalierException">A picture cannot be read, and the data set does not leave it out.</exception>
    public static IEnumerable<Tensor> Of(IImageDataset data, ImagePipeline pipeline, int count)
    {
        count = Math.Min(count, data.Count);
        int most = Math.Clamp((count + 1) / 2, 1, MostOfBatch);
        for (int next = 0; next < count;)
        {
            List<Image> images = [];
            for (; next < count && images.Count < most; next++)
                if (Read(data, (int)((long)next * data.Count / count)) is { } image) images.Add(image);
            if (images.Count == 0) continue;
            using var scope = new Scope();
            yield return Batch(images, pipeline);
        }
    }

    /// <summary>Pictures as an evaluation pipeline, which has no chance in it, makes them: [n, C, S, S], of the innermost scope.</summary>
    internal static Tensor Batch(IReadOnlyList<Image> images, ImagePipeline pipeline)
    {
        var rng = new Rng(0);
        int size = pipeline.Channels * pipeline.ImageSize * pipeline.ImageSize;
        var batch = new Tensor(new Shape(images.Count, pipeline.Channels, pipeline.ImageSize, pipeline.ImageSize));
        for (int i = 0; i < images.Count; i++) pipeline.Run(images[i], ref rng, batch.Span.Slice(i * size, size));
        return batch;
    }

    /// <summary>A picture; null where it cannot be read and the data set leaves it out.</summary>
    internal static Image? Read(IImageDataset data, int index)
    {
        try
        {
            return data.ReadImage(index);
        }
        catch (EspalierException e) when (data.Skip(index, e))
        {
            return null;
        }
    }
}
