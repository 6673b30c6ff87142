using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>
/// Inference by a network's own <see cref="ImageClassifier.Forward"/>, for any network, with the weights that it has at the time
/// of a call. Sessions made for one kind of network are faster; this one is what they have to agree with.
/// </summary>
/// <param name="net">Stays the caller's; a call leaves it in evaluation mode.</param>
public sealed class ModuleSession(ImageClassifier net) : IClassifierSession
{
    public string Description => net.Description;

    public int Channels => net.Channels;

    public int ImageSize => net.ImageSize;

    public int NumClasses => net.NumClasses;

    public IReadOnlyList<string>? ClassNames => null;

    public string? Dataset => null;

    public double DenseMultiplyAdds => field > 0 ? field : field = net.CountMultiplyAdds();

    public void Run(ReadOnlySpan<float> images, int batch, Span<float> logits)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(batch);
        if (images.Length != (long)batch * Channels * ImageSize * ImageSize)
            throw new ArgumentException($"{images.Length} values for images [{batch},{Channels},{ImageSize},{ImageSize}]");
        if (logits.Length != (long)batch * NumClasses)
            throw new ArgumentException($"{logits.Length} values for logits [{batch},{NumClasses}]");
        net.Training = false;
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();
        net.Forward(Tensor.From(new Shape(batch, Channels, ImageSize, ImageSize), images)).Span.CopyTo(logits);
    }

    public void Dispose()
    {
    }
}
