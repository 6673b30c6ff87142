using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>A network from images to logits.</summary>
public abstract class ImageClassifier : Module
{
    /// <summary>The network in a few words, for people: "resnet20".</summary>
    public abstract string Description { get; }

    /// <summary>Of the images: 3 for colour, 1 for grey.</summary>
    public abstract int Channels { get; }

    /// <summary>Height and width of the images in pixels.</summary>
    public abstract int ImageSize { get; }

    public abstract int NumClasses { get; }

    /// <summary>[N, C, H, W] -> logits [N, classes].</summary>
    public abstract Tensor Forward(Tensor images);

    /// <summary>The network as a graph, with the shapes that its weights have now; they stay this module's.</summary>
    public Graph Trace()
    {
        bool training = Training;
        Training = false;
        try
        {
            return Graph.Trace(Forward, new Shape(2, Channels, ImageSize, ImageSize), StateDict());
        }
        finally
        {
            Training = training;
        }
    }

    /// <summary>Multiply-adds of one image with the channels that there are now: products and convolutions, nothing else.</summary>
    public long CountMultiplyAdds() => Trace().CostPerImage.MultiplyAdds;
}
