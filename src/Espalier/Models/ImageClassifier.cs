using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>A network from images to logits.</summary>
public abstract class ImageClassifier : Module
{
    /// <summary>Of the images: 3 for colour, 1 for grey.</summary>
    public abstract int Channels { get; }

    /// <summary>Height and width of the images in pixels.</summary>
    public abstract int ImageSize { get; }

    public abstract int NumClasses { get; }

    /// <summary>[N, C, H, W] -> logits [N, classes].</summary>
    public abstract Tensor Forward(Tensor images);
}
