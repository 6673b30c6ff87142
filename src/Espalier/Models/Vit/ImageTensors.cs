using Espalier.Data;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>From the loader's arrays to a model's input.</summary>
public static class ImageTensors
{
    /// <summary>[N, C, S, S].</summary>
    public static Tensor ToTensor(this Batch batch, int channels, int imageSize) =>
        Tensor.From(new Shape(batch.Count, channels, imageSize, imageSize), batch.Pixels);
}
