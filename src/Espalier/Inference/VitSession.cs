using Espalier.Compression.Apt;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Inference;

/// <summary>
/// Inference with a vision transformer, pruned by its agents or not: the weights are packed once, and after the first call
/// nothing is allocated that grows with model or batch. Of the last block only what the class token needs is computed.
/// <para>Images beyond the number of threads are handed out to them in small chunks, each thread running the whole network
/// on its chunk; few images, or large models, have every step shared by all threads. A session may be used from several
/// threads; calls then wait for one another.</para>
/// </summary>
public sealed unsafe class VitSession : IClassifierSession
{
    /// <summary>A model's multiply-adds from which threads share each step: the chunks of one thread alone would wait for the
    /// weights, which do not fit its cache.</summary>
    private const long SharedFrom = 1_000_000_000;

    /// <summary>Bytes of buffers that a chunk should not exceed, so that they stay in the second-level cache.</summary>
    private const int ChunkBytes = 512 * 1024;

    /// <summary>Chunks that a thread takes at least of images that are pruned by a threshold.</summary>
    private const int UnevenRounds = 2;

    /// <summary>Images in a chunk whose steps are shared: enough rows for a product, even where most tokens are dropped.</summary>
    private const int SharedImages = 16;

    /// <summary>Images that go through a hybrid's stem together.</summary>
    private const int StemImages = 8;

    private readonly Lock gate = new();
    private readonly VitWeights weights;
    private readonly int imageValues;
    private readonly int chunk;
    private readonly bool large;
    private readonly VitLane?[] lanes = new VitLane?[Workers.MaxThreads];
    private VitLane? shared;

    /// <summary>A session with the weights that the model has now.</summary>
    /// <exception cref="EspalierException">This processor has no kernel for the precision.</exception>
    public VitSession(VisionTransformer vit, SessionOptions? options = null) : this(new ModuleWeights(vit), options)
    {
    }

    /// <summary>A session with the weights that the model and its agents have now.</summary>
    /// <inheritdoc cref="VitSession(VisionTransformer, SessionOptions)" path="/exception"/>
    public VitSession(AptModel apt, SessionOptions? options = null) : this(new ModuleWeights(apt), options)
    {
    }

    /// <summary>A session straight from a checkpoint of any supported format. Of a safetensors file each tensor is packed as soon as
    /// it is read, so that the model is never in memory twice.</summary>
    /// <param name="config">The shape, where the file has no structure block; it wins over one.</param>
    /// <exception cref="EspalierException">The file cannot be read or is not of that shape, or this processor has no kernel for the
    /// precision.</exception>
    public static VitSession Open(string path, VitConfig? config = null, SessionOptions? options = null)
    {
        using ModelTensors file = ModelTensors.Open(path);
        return new VitSession(new FileWeights(file, config), options);
    }

    internal VitSession(IWeightSource source, SessionOptions? options)
    {
        options ??= new SessionOptions();
        Structure = source.Structure;
        AgentLayers = [.. source.AgentLayers];
        Precision = options.Precision;
        Pruning = options.Pruning ?? (AgentLayers.Count > 0 ? Pruning.Threshold(source.Threshold) : Pruning.None);
        weights = WeightPacker.Pack(source, options.Precision);
        int side = Config.Grid * Config.PatchSize;
        imageValues = Config.PatchChannels * side * side;
        large = VitCost.Dense(Config) >= SharedFrom;
        long rowBytes = sizeof(float) * (2L * Config.HiddenSize + Math.Max(3 * Config.HiddenSize, Config.MlpDim));
        chunk = (int)Math.Clamp(ChunkBytes / (rowBytes * Config.Tokens), 1, 64);
    }

    /// <summary>What the checkpoint says of itself; of a module only the shape.</summary>
    public ModelStructure Structure { get; }

    public VitConfig Config => Structure.Config;

    /// <inheritdoc/>
    public string Description => Config.Description;

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

    /// <summary>How images become its input: as the checkpoint says, until another is set.</summary>
    public Preprocessing Preprocessing
    {
        get => field ??= Structure.Preprocessing ?? Preprocessing.Half(ImageSize, Channels);
        set;
    }

    /// <inheritdoc/>
    public double DenseMultiplyAdds => VitCost.Dense(Config);

    /// <inheritdoc/>
    public int Tokens => Config.Tokens;

    /// <inheritdoc/>
    public int TokenGrid => Config.Grid;

    /// <inheritdoc/>
    public int PrefixTokens => Config.PrefixTokens;

    /// <summary>Blocks (0-based) after which an agent acts.</summary>
    public IReadOnlyList<int> AgentLayers { get; }

    public Precision Precision { get; }

    /// <summary>What the agents drop where a call does not say.</summary>
    /// <exception cref="EspalierException">The model has no agents.</exception>
    public Pruning Pruning
    {
        get;
        set => field = Checked(value);
    }

    /// <summary>Bytes that the packed weights take.</summary>
    public long WeightBytes => weights.Bytes;

    /// <summary>Multiply-adds of one image, agents included, as the literature counts them: what is left out of the last block is
    /// counted too.</summary>
    /// <param name="tokens">As in <see cref="TokenTrace.Counts"/>.</param>
    public long MultiplyAdds(ReadOnlySpan<int> tokens) => VitCost.Pruned(Config, AgentLayers, tokens);

    /// <summary>images -> logits, pruned by <see cref="Pruning"/>.</summary>
    /// <inheritdoc cref="Run(ReadOnlySpan{float}, int, Span{float}, Pruning, TokenTrace)"/>
    public void Run(ReadOnlySpan<float> images, int batch, Span<float> logits, TokenTrace? tokens = null) =>
        Run(images, batch, logits, Pruning, tokens);

    void IClassifierSession.Run(ReadOnlySpan<float> images, int batch, Span<float> logits) => Run(images, batch, logits, Pruning);

    /// <summary>images -> logits.</summary>
    /// <param name="images">[batch, C, S, S], normalised as in training.</param>
    /// <param name="logits">[batch, classes], written.</param>
    /// <param name="tokens">Receives which tokens were left; null where nobody asks.</param>
    /// <exception cref="ArgumentException">A span has another length.</exception>
    /// <exception cref="EspalierException">The model has no agents that could prune.</exception>
    public void Run(ReadOnlySpan<float> images, int batch, Span<float> logits, Pruning pruning, TokenTrace? tokens = null)
    {
        VitConfig c = Config;
        ArgumentOutOfRangeException.ThrowIfNegative(batch);
        if (images.Length != (long)batch * c.Channels * c.ImageSize * c.ImageSize)
            throw new ArgumentException($"{images.Length} values for images [{batch},{c.Channels},{c.ImageSize},{c.ImageSize}]");
        if (logits.Length != (long)batch * c.NumClasses)
            throw new ArgumentException($"{logits.Length} values for logits [{batch},{c.NumClasses}]");
        Checked(pruning);
        lock (gate)
        {
            tokens?.Begin(batch, pruning.IsActive ? 1 + AgentLayers.Count : 1, c.Tokens);
            fixed (float* input = images, output = logits)
            {
                var call = new Call(input, output, pruning, tokens);
                if (weights.Stem is null) Chunks(call, batch);
                else ThroughStem(weights.Stem, call, batch);
            }
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            weights.Dispose();
            shared?.Dispose();
            foreach (VitLane? lane in lanes) lane?.Dispose();
        }
    }

    private Pruning Checked(Pruning pruning) => pruning.IsActive && AgentLayers.Count == 0
        ? throw new EspalierException("this model has no agents, so it cannot be pruned; use Pruning.None")
        : pruning;

    /// <summary>The stem of a hybrid runs as the module's ops do, which allocate: it is nine tenths convolutions, not a matter
    /// of this path.</summary>
    private void ThroughStem(HybridStem stem, in Call call, int batch)
    {
        VitConfig c = Config;
        int pixels = c.Channels * c.ImageSize * c.ImageSize;
        for (int start = 0; start < batch; start += StemImages)
        {
            int count = Math.Min(StemImages, batch - start);
            using PausedScope _ = new();
            var input = new Tensor(new Shape(count, c.Channels, c.ImageSize, c.ImageSize));
            new ReadOnlySpan<float>(call.Images + (nint)start * pixels, count * pixels).CopyTo(input.Span);
            Chunks(new Call(stem.Forward(input).Data, call.Logits + (nint)start * c.NumClasses, call.Pruning, call.Trace, start),
                count);
        }
    }

    private void Chunks(in Call call, int batch)
    {
        int threads = Workers.Available;
        bool share = threads > 1 && (batch < threads || large);
        if (share)
        {
            int size = Math.Min(batch, SharedImages);
            if (shared is null || shared.Capacity < size)
            {
                shared?.Dispose();
                shared = null;
                shared = new VitLane(weights, size);
            }

            for (int start = 0; start < batch; start += size) Piece(shared!, call, start, Math.Min(size, batch - start));
            return;
        }

        // As many chunks for each thread; several where images come to differ in length.
        int rounds = Math.Max((batch + threads * chunk - 1) / (threads * chunk), call.Pruning is { IsActive: true, ByShare: false } ? UnevenRounds : 1);
        int count = Math.Min(batch, threads * rounds), used = Math.Min(threads, count);
        for (int i = 0; i < used; i++) lanes[i] ??= new VitLane(weights, chunk);
        int next = 0;
        Workers.For(used, 1, new ChunkJob(this, call, batch, count, &next));
    }

    private void Piece(VitLane lane, in Call call, int start, int count) => lane.Run(
        call.Images + (nint)start * imageValues, count, call.Pruning, call.Logits + (nint)start * Config.NumClasses,
        call.Trace, call.First + start);

    /// <summary>What one call works on.</summary>
    /// <param name="first">Which image of the trace image 0 is.</param>
    private readonly struct Call(float* images, float* logits, Pruning pruning, TokenTrace? trace, int first = 0)
    {
        public readonly float* Images = images;
        public readonly float* Logits = logits;
        public readonly Pruning Pruning = pruning;
        public readonly TokenTrace? Trace = trace;
        public readonly int First = first;
    }

    /// <summary>Each thread takes chunks until none is left. An image's result does not depend on which thread takes it.</summary>
    private readonly struct ChunkJob(VitSession session, Call call, int batch, int count, int* next) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int lane = start; lane < end; lane++)
            {
                while (true)
                {
                    int index = Interlocked.Increment(ref *next) - 1;
                    if (index >= count) break;
                    int first = (int)((long)batch * index / count), after = (int)((long)batch * (index + 1) / count);
                    session.Piece(session.lanes[lane]!, call, first, after - first);
                }
            }
        }
    }

    /// <summary>A scope in which nothing is recorded.</summary>
    private sealed class PausedScope : IDisposable
    {
        private readonly Recording.PauseBlock pause = Recording.Pause();
        private readonly Scope scope = new();

        public void Dispose()
        {
            scope.Dispose();
            pause.Dispose();
        }
    }
}
