using Espalier.Data;
using Espalier.Imaging;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier;

/// <summary>Two images of chance for a job that learns nothing of images: what it removes is checked on them.</summary>
internal static class NoiseImages
{
    public static TrainingData For(Model model)
    {
        int size = model.ImageSize;
        byte[] pixels = new byte[2 * size * size * model.Channels];
        var rng = new Rng(5);
        foreach (ref byte pixel in pixels.AsSpan()) pixel = (byte)rng.NextInt(256);
        var images = new MemoryDataset("noise", ["none"], size, size, model.Channels, pixels, [0, 0]);
        ImagePipeline pipeline = ImagePipeline.Eval(Preprocessing.Half(size, model.Channels));
        return new TrainingData(images, pipeline, images, pipeline);
    }
}
