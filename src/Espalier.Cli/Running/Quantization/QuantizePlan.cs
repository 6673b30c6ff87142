using Espalier.Quantization;

namespace Espalier.Cli.Running;

/// <summary>What `quantize` was asked to do.</summary>
internal sealed record QuantizePlan
{
    public required CompressSource Source { get; init; }

    public required PostTrainingOptions Options { get; init; }

    /// <summary>Where the network goes; null for nowhere.</summary>
    public string? Output { get; init; }

    /// <summary>Images that ranges are found on.</summary>
    public int Images { get; init; }

    /// <summary>Evaluate on the first so many images; null for all.</summary>
    public int? Limit { get; init; }

    /// <summary>The accuracy that is to be kept, 0 to 1.</summary>
    public double? MinAccuracy { get; init; }

    /// <summary>The share of the floats' size that weights may take.</summary>
    public double? TargetSize { get; init; }
}
