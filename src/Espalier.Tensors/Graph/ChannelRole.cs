namespace Espalier.Tensors;

/// <summary>What a slice of a parameter or buffer is to the channel that it stands or falls with.</summary>
public enum ChannelRole
{
    /// <summary>Added to the channel in some other way than the roles below say, such as a position embedding.</summary>
    Shift,

    /// <summary>Rows of a weight that compute the channel from all channels before.</summary>
    Producer,

    /// <summary>Filters that compute the channel from the same channel before (depthwise, or whole groups).</summary>
    Depthwise,

    /// <summary>The bias of a <see cref="Producer"/> or <see cref="Depthwise"/>.</summary>
    Bias,

    /// <summary>A norm's scale (gamma).</summary>
    Scale,

    /// <summary>A norm's shift (beta).</summary>
    NormShift,

    /// <summary>A batch norm's mean over the images that it has seen.</summary>
    RunningMean,

    /// <summary>A batch norm's variance over the images that it has seen.</summary>
    RunningVariance,

    /// <summary>Another number that is found and not learned: the scale or the zero of codes.</summary>
    Statistic,

    /// <summary>Columns of a weight that read the channel.</summary>
    Consumer,

    /// <summary>Entries of a list of channel numbers.</summary>
    Index,
}
