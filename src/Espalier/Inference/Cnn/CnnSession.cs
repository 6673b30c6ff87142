using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Inference;

/// <summary>
/// Inference with a convolutional network, whole or with channels removed: read from one recorded pass, batch norms folded into
/// weights, activations and sums fused into convolutions, pixels stored channel by channel in memory planned once. After the
/// first call of a size nothing is allocated. A session may be used from several threads; calls then wait for one another.
/// </summary>
public sealed unsafe class CnnSession : IClassifierSession
{
    /// <summary>Bytes of maps for each thread that a chunk of images should not exceed.</summary>
    private const long MapBytes = 8 << 20;

    /// <summary>Bytes of weights that are worth one more image in a chunk.</summary>
    private const long WeightsAnImage = 128 << 20;

    private const int MostImages = 64;

    private readonly Lock gate = new();
    private readonly CnnPlan plan;
    private Tensor? arena;

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
        plan = new CnnPlan(loaded.Net);
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
    public long MultiplyAdds => plan.MultiplyAdds;

    /// <inheritdoc/>
    public double DenseMultiplyAdds => MultiplyAdds;

    /// <summary>Bytes that the packed weights take.</summary>
    public long WeightBytes => plan.WeightBytes;

    /// <inheritdoc/>
    public void Run(ReadOnlySpan<float> images, int batch, Span<float> logits)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(batch);
        if (images.Length != (long)batch * ImageValues)
            throw new ArgumentException($"{images.Length} values for images [{batch},{Channels},{ImageSize},{ImageSize}]");
        if (logits.Length != (long)batch * NumClasses)
            throw new ArgumentException($"{logits.Length} values for logits [{batch},{NumClasses}]");
        lock (gate)
        {
            fixed (float* x = images, y = logits)
            {
                int most = Math.Min(batch, Chunk);
                float* room = Room(most);
                for (int first = 0; first < batch; first += most)
                    plan.Run(x + (nint)first * ImageValues, Math.Min(most, batch - first), y + (nint)first * NumClasses, room);
            }
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            plan.Dispose();
            arena?.Dispose();
        }
    }

    private int ImageValues => Channels * ImageSize * ImageSize;

    /// <summary>Images that go through the network together, each step being shared by all threads. As many as let the maps stay
    /// in the last-level cache, or more, where large weights would be read too often. A thread for each image is no faster beyond
    /// a few hundredths on any network, and twice the memory.</summary>
    private int Chunk
    {
        get
        {
            long byMaps = MapBytes * Workers.Available / (sizeof(float) * plan.FloatsPerImage);
            return (int)Math.Clamp(Math.Max(byMaps, plan.WeightBytes / WeightsAnImage), 1, MostImages);
        }
    }

    private float* Room(int images)
    {
        long floats = plan.FloatsPerImage * images;
        if (arena is null || arena.Length < floats)
        {
            arena?.Dispose();
            arena = null;
            arena = Tensor.Unscoped(new Shape(checked((int)floats)));
        }
        return arena.Data;
    }
}
