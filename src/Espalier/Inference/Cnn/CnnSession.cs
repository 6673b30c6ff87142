using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>
/// Inference with a convolutional network, whole or with channels removed: read from one recorded pass, batch norms folded into
/// weights, activations and sums fused into convolutions, pixels stored channel by channel in memory planned once. After the
/// first call of a size nothing is allocated. A session may be used from several threads; calls then wait for one another.
/// </summary>
public sealed class CnnSession : IClassifierSession
{
    private readonly Session session;

    /// <summary>A session with the weights that the network has now.</summary>
    /// <exception cref="EspalierException">The network has an op of which there is no fast form, or the options ask for another
    /// precision than <see cref="Precision.Fp32"/> or for pruned tokens.</exception>
    public CnnSession(Cnn net, SessionOptions? options = null)
        : this(new LoadedCnn(net, new CnnStructure { Config = net.Config }), options)
    {
    }

    /// <summary>The same of a network from a file, which may be disposed afterwards.</summary>
    /// <inheritdoc cref="CnnSession(Cnn, SessionOptions)" path="/exception"/>
    public CnnSession(LoadedCnn loaded, SessionOptions? options = null)
    {
        if (options is { Precision: not Precision.Fp32 })
            throw new EspalierException($"convolutional networks run in fp32, not in {options.Precision}; leave the precision out");
        if (options is { Pruning.IsActive: true })
            throw new EspalierException("convolutional networks have no tokens that could be pruned; leave the pruning out");
        (Structure, Description) = (loaded.Structure, loaded.Net.Description);
        session = new Session(loaded.Net.Trace());
    }

    /// <summary>A session straight from a file.</summary>
    /// <param name="config">The shape, where the file has no structure block, as published weights have none.</param>
    /// <exception cref="EspalierException">The file cannot be read, is damaged, or is of another network.</exception>
    public static CnnSession Open(string path, CnnConfig? config = null, SessionOptions? options = null)
    {
        using LoadedCnn loaded = CnnFile.Load(path, config);
        return new CnnSession(loaded, options);
    }

    /// <summary>What the file says of the network; of a module only the shape that it was built with.</summary>
    public CnnStructure Structure { get; }

    public CnnConfig Config => Structure.Config;

    /// <inheritdoc/>
    public string Description { get; }

    /// <inheritdoc/>
    public int Channels => Config.Channels;

    /// <inheritdoc/>
    public int ImageSize => Config.ImageSize;

    /// <inheritdoc/>
    public int NumClasses => Config.NumClasses;

    /// <inheritdoc/>
    public IReadOnlyList<string>? ClassNames => Structure.ClassNames;

    /// <inheritdoc/>
    public string? Dataset => Structure.Dataset;

    /// <inheritdoc/>
    public Preprocessing Preprocessing => Structure.Preprocessing ?? Preprocessing.Half(ImageSize, Channels);

    /// <summary>Multiply-adds of one image as the literature counts them: those of the network's layers, whatever was folded.
    /// </summary>
    public long MultiplyAdds => (long)session.DenseMultiplyAdds;

    /// <inheritdoc/>
    public double DenseMultiplyAdds => MultiplyAdds;

    /// <summary>Bytes that the packed weights take.</summary>
    public long WeightBytes => session.WeightBytes;

    /// <inheritdoc/>
    public void Run(ReadOnlySpan<float> images, int batch, Span<float> logits)
    {
        session.Run(images, batch, logits);
    }

    public void Dispose() => session.Dispose();
}
