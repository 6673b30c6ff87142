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
    /// <summary>Bytes of maps that are in memory at once, as far as one image allows.</summary>
    private const long MostBytes = 256L << 20;

    private readonly Lock gate = new();
    private readonly CnnPlan plan;
    private readonly Tensor?[] arenas = new Tensor?[Workers.MaxThreads];

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
                int most = (int)Math.Clamp(MostBytes / (sizeof(float) * plan.FloatsPerImage), 1, Math.Max(1, batch));
                for (int first = 0; first < batch; first += most) Piece(0, x, y, first, Math.Min(most, batch - first));
            }
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            plan.Dispose();
            foreach (Tensor? arena in arenas) arena?.Dispose();
        }
    }

    private int ImageValues => Channels * ImageSize * ImageSize;

    private void Piece(int lane, float* images, float* logits, int first, int count)
    {
        long floats = plan.FloatsPerImage * count;
        if (arenas[lane] is not { } arena || arena.Length < floats)
        {
            arenas[lane]?.Dispose();
            arenas[lane] = null;
            arenas[lane] = arena = Tensor.Unscoped(new Shape(checked((int)floats)));
        }
        plan.Run(images + (nint)first * ImageValues, count, logits + (nint)first * NumClasses, arena.Data);
    }
}
