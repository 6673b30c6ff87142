using Espalier.Data;
using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>What a model is measured on.</summary>
/// <param name="Source">Where they are from, for people.</param>
/// <param name="Pixels">[N, C, S, S].</param>
internal sealed record InputImages(string Source, Tensor Pixels) : IDisposable
{
    /// <summary>
    /// The first test images of the data set that is asked for, else of the model's own where it is here, so that agents see
    /// what they know; noise where there are none. Fewer than <paramref name="count"/> are repeated.
    /// </summary>
    /// <param name="preprocessing">The model's.</param>
    /// <param name="asked">The data set that the user names.</param>
    /// <param name="own">The one that the model was trained on.</param>
    public static InputImages Take(int count, Preprocessing preprocessing, string? asked, string? own, string? directory)
    {
        string? name = DataChoice.Name(asked, directory, own);
        if (name is "fashion-mnist" && asked is null && Datasets.Find(name, directory) is null) name = "fashion-mnist-sample";
        bool here = name is not null
            && (asked is not null || name == "fashion-mnist-sample" || Datasets.Find(name, directory) is not null);
        var pixels = Tensor.Unscoped(new Shape(count, preprocessing.Channels, preprocessing.Size, preprocessing.Size));
        var rng = new Rng(0);
        if (here)
        {
            IImageDataset data = Datasets.Open(name!, directory).Test;
            var pipeline = ImagePipeline.Eval(preprocessing);
            int size = (int)(pixels.Length / count);
            for (int i = 0; i < count; i++)
                pipeline.Run(data.ReadImage(i % data.Count), ref rng, pixels.Span.Slice(i * size, size));
        }
        else
        {
            foreach (ref float x in pixels.Span) x = 2 * rng.NextFloat() - 1;
        }
        return new InputImages(here ? $"{name}'s test images" : "noise", pixels);
    }

    public void Dispose() => Pixels.Dispose();
}
