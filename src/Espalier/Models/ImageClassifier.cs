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

    /// <summary>
    /// [N, C, H, W] -> two times logits [N, classes]: what is compared with the labels, and what with a teacher. The same of a network
    /// with one head.
    /// </summary>
    public virtual (Tensor ByLabels, Tensor ByTeacher) ForwardHeads(Tensor images)
    {
        Tensor logits = Forward(images);
        return (logits, logits);
    }

    /// <summary>The network as a graph, with the shapes that its weights have now; they stay this module's.</summary>
    public Graph Trace() => Trace(x => [Forward(x)]);

    /// <summary>As <see cref="Trace()"/>, with the two outputs of <see cref="ForwardHeads"/>.</summary>
    internal Graph TraceHeads() => Trace(x =>
    {
        var (byLabels, byTeacher) = ForwardHeads(x);
        return [byLabels, byTeacher];
    });

    private Graph Trace(Func<Tensor, Tensor[]> forward)
    {
        bool training = Training;
        Training = false;
        try
        {
            Tensor example = Tensor.Meta(new Shape(2, Channels, ImageSize, ImageSize));
            return Graph.Trace(x => forward(x[0]), [("images", example)], StateDict());
        }
        finally
        {
            Training = training;
        }
    }

    /// <summary>Multiply-adds of one image with the channels that there are now: products and convolutions, nothing else.</summary>
    public virtual long CountMultiplyAdds() => Trace().CostPerImage.MultiplyAdds;
}
