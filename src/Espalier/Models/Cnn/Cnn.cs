using System.Globalization;

namespace Espalier.Models;

/// <summary>A convolutional network of one of the <see cref="CnnPresets"/>, whole or with channels removed.</summary>
public abstract class Cnn(CnnConfig config) : ImageClassifier
{
    /// <summary>The shape that it was built with; removed channels show in the weights only.</summary>
    public CnnConfig Config => config;

    /// <inheritdoc/>
    public override string Description =>
        Config.Width == 1 ? Config.Network : string.Create(CultureInfo.InvariantCulture, $"{Config.Network} x {Config.Width}");

    /// <inheritdoc/>
    public override int Channels => config.Channels;

    /// <inheritdoc/>
    public override int ImageSize => config.ImageSize;

    /// <inheritdoc/>
    public override int NumClasses => config.NumClasses;
}
