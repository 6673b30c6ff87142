using Espalier.Models;

namespace Espalier.Inference;

/// <summary>Where a session takes its weights from, one tensor at a time, so that never more than one of them is there twice.
/// </summary>
internal interface IWeightSource
{
    /// <summary>The model's shape, and what a file says beyond it.</summary>
    ModelStructure Structure { get; }

    /// <summary>Blocks (0-based, rising) after which an agent acts; empty for a plain model.</summary>
    IReadOnlyList<int> AgentLayers { get; }

    /// <summary>p(prune) above which the agents drop a token.</summary>
    float Threshold { get; }

    /// <summary>Copies the tensor of that name (see <see cref="VisionTransformer"/>), row-major. Threads may call it at once.
    /// </summary>
    /// <exception cref="EspalierException">It cannot be read, or holds something else than finite numbers.</exception>
    void Read(string name, Span<float> destination);
}
