using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>A network from images to logits.</summary>
public abstract class ImageClassifier : Module
{
    /// <summary>[N, C, H, W] -> logits [N, classes].</summary>
    public abstract Tensor Forward(Tensor images);
}
