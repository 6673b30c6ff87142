using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Inference;

/// <summary>
/// Inference with a convolutional network, whole or with channels removed: read from one recorded pass, batch norms folded into
/// weights, activations and sums fused into convolutions, pixels stored channel by channel in memory planned once. After the
/// first call of a size nothing is allocated. A session may be used from several threads; calls then wait for one another.
/// </summary>
public sealed unsafe class CnnSession : IDisposable
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
        : this(net, new CnnStructure { Config = net.Config }, options)
    {
    }

    private CnnSession(Cnn net, CnnStructure structure, SessionOptions? options)
    {
        if (options is { Precision: not Precision.Fp32 })
            throw new EspalierException($"convolutional networks run in fp32, not in {options.Precision}; leave the precision out");
        if (options is { Pruning.IsActive: true })
            throw new EspalierException("convolutional networks have no tokens that could be pruned; leave the pruning out");
        Structure = structure;
        plan = new CnnPlan(net);
    }

    /// <summary>A session straight from a file.</summary>
    /// <param name="config">The shape, where the file has no structure block, as published weights have none.</param>
    /// <exception cref="EspalierException">The file cannot be read, is damaged, or is of another network.</exception>
    public static CnnSession Open(string path, CnnConfig? config = null, SessionOptions? options = null)
    {
        using LoadedCnn loaded = CnnFile.Load(path, config);
        return new CnnSession(loaded.Net, loaded.Structure, options);
    }

    /// <summary>What the file says of the network; of a module only the shape that it was built with.</summary>
    public CnnStructure Structure { get; }

    public CnnConfig Config => Structure.Config;

    public int NumClasses => Config.NumClasses;

    /// <summary>Of the images: 3 for colour, 1 for grey.</summary>
    public int Channels => Config.Channels;

    /// <summary>Height and width of the images in pixels.</summary>
    public int ImageSize => Config.ImageSize;

    /// <summary>Multiply-adds of one image as the literature counts them: those of the network's layers, whatever was folded.
    /// </summary>
    public long MultiplyAdds => plan.MultiplyAdds;

    /// <summary>Bytes that the packed weights take.</summary>
    public long WeightBytes => plan.WeightBytes;

    /// <summary>images -> logits.</summary>
    /// <param name="images">[count, C, S, S], normalised as in training.</param>
    /// <param name="logits">[count, classes], written.</param>
    /// <exception cref="ArgumentException">A span has another length.</exception>
    public void Run(ReadOnlySpan<float> images, int count, Span<float> logits)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        if (images.Length != (long)count * ImageValues)
            throw new ArgumentException($"{images.Length} values for images [{count},{Channels},{ImageSize},{ImageSize}]");
        if (logits.Length != (long)count * NumClasses)
            throw new ArgumentException($"{logits.Length} values for logits [{count},{NumClasses}]");
        lock (gate)
        {
            fixed (float* x = images, y = logits)
            {
                int most = (int)Math.Clamp(MostBytes / (sizeof(float) * plan.FloatsPerImage), 1, Math.Max(1, count));
                for (int first = 0; first < count; first += most) Piece(0, x, y, first, Math.Min(most, count - first));
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
