using Espalier.Imaging;

namespace Espalier.Inference;

/// <summary>A network made ready to classify images: what commands and evaluations need, of whatever kind it is.</summary>
public interface IClassifierSession : IDisposable
{
    /// <summary>The network in a few words, for people: "resnet20".</summary>
    string Description { get; }

    /// <summary>Of the images: 3 for colour, 1 for grey.</summary>
    int Channels { get; }

    /// <summary>Height and width of the images in pixels.</summary>
    int ImageSize { get; }

    int NumClasses { get; }

    /// <summary>Names of the classes, in the order of the logits; null where the file does not say.</summary>
    IReadOnlyList<string>? ClassNames { get; }

    /// <summary>The data set that it was trained on; null where the file does not say.</summary>
    string? Dataset { get; }

    /// <summary>How images become its input.</summary>
    Preprocessing Preprocessing => Preprocessing.Half(ImageSize, Channels);

    /// <summary>Multiply-adds of one image of which nothing is dropped, as the literature counts them.</summary>
    double DenseMultiplyAdds { get; }

    /// <summary>Blocks (0-based) after which an agent drops tokens; empty where there is none.</summary>
    IReadOnlyList<int> AgentLayers => [];

    /// <summary>Tokens of an image before any is dropped; 0 of a network without tokens.</summary>
    int Tokens => 0;

    /// <summary>Patches of an image side by side; 0 of a network without.</summary>
    int TokenGrid => 0;

    /// <summary>Tokens before those of the patches.</summary>
    int PrefixTokens => 0;

    /// <summary>What the agents drop where a call does not say.</summary>
    Pruning Pruning => Pruning.None;

    /// <summary>images -> logits.</summary>
    /// <param name="images">[batch, C, S, S], normalised as in training.</param>
    /// <param name="logits">[batch, classes], written.</param>
    /// <exception cref="ArgumentException">A span has another length.</exception>
    void Run(ReadOnlySpan<float> images, int batch, Span<float> logits);

    /// <summary>The same with tokens dropped otherwise than by <see cref="Pruning"/>.</summary>
    /// <param name="tokens">Receives which tokens were left, of none in a network without; null where nobody asks.</param>
    /// <exception cref="EspalierException">The network has no agents that could prune.</exception>
    void Run(ReadOnlySpan<float> images, int batch, Span<float> logits, Pruning pruning, TokenTrace? tokens = null)
    {
        if (pruning.IsActive) throw new EspalierException("this model has no agents, so it cannot be pruned; use Pruning.None");
        tokens?.Begin(batch, 0, 0);
        Run(images, batch, logits);
    }

    /// <summary>Multiply-adds of one image, agents included.</summary>
    /// <param name="tokens">As in <see cref="TokenTrace.Counts"/>.</param>
    long MultiplyAdds(ReadOnlySpan<int> tokens) => (long)DenseMultiplyAdds;
}
