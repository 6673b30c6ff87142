namespace Espalier.Compression.Methods.Calibrated;

/// <summary>Removes the channels that vary least where they are read: a bias can give what they gave (VBP, arXiv 2507.12988).</summary>
public sealed record LowVariance : ImportanceMethod
{
    private static readonly MethodSettings<LowVariance> Known = new()
    {
        { "images", m => m.Images, (m, x) => m with { Images = x }, 1, 1 << 20, "images that are looked at" },
    };

    /// <inheritdoc/>
    public override string Name => "variance";

    /// <inheritdoc/>
    public override string Purpose => "removes the channels that vary least on some images; needs no labels";

    /// <inheritdoc/>
    public override bool NeedsLabels => false;

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <summary>Images that are looked at.</summary>
    public int Images { get; init; } = 256;

    /// <inheritdoc/>
    public override ChannelScores Score(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> groups) =>
        ActivationScores.Variance(graph, groups, job.CalibrationBatches(Images)).Normalised();
}

/// <summary>
/// Removes the channels that cost least if the weights of those that stay are fitted anew: Optimal Brain Surgeon on the outputs of the
/// layers that read them (Hassibi and Stork 1993). Meant for <see cref="CompressionOptions.Recover"/>, which does fit them.
/// </summary>
public sealed record LowOutputError : ImportanceMethod
{
    private static readonly MethodSettings<LowOutputError> Known = new()
    {
        { "images", m => m.Images, (m, x) => m with { Images = x }, 1, 1 << 20, "images that are looked at" },
    };

    /// <inheritdoc/>
    public override string Name => "output-error";

    /// <inheritdoc/>
    public override string Purpose => "removes the channels that the others can best make up for, by some images; needs no labels";

    /// <inheritdoc/>
    public override bool NeedsLabels => false;

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <summary>Images that are looked at.</summary>
    public int Images { get; init; } = 256;

    /// <inheritdoc/>
    public override ChannelScores Score(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> groups) =>
        ActivationScores.OutputError(graph, groups, job.CalibrationBatches(Images));
}
