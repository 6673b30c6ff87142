using System.Diagnostics;
using Espalier.Clip;
using Espalier.Imaging;
using Espalier.Inference;

namespace Espalier.Server;

/// <summary>A model that answers requests.</summary>
internal abstract class ServedModel(string name) : IAsyncDisposable
{
    private long images, batches, ticks;

    public string Name => name;

    public long Images => Interlocked.Read(ref images);

    public long Batches => Interlocked.Read(ref batches);

    public TimeSpan Computed => Stopwatch.GetElapsedTime(0, Interlocked.Read(ref ticks));

    /// <summary>Images and texts whose turn has not come.</summary>
    public abstract int Waiting { get; }

    public abstract ModelInfo Info { get; }

    /// <summary>A file of any format; or CLIP's two towers, by a published name, as a file or a folder.</summary>
    /// <exception cref="EspalierException">It is missing, damaged, or of no images.</exception>
    public static ServedModel Open(string path, string name, ServerSettings settings)
    {
        if (!FeatureNetwork.Is(path))
            return new ClipServed(name, ClipModel.Open(path, new ClipOptions { Vocabulary = settings.Vocabulary }), settings);
        Session session = Session.Open(path);
        try
        {
            if (session.Channels is not (1 or 3))
                throw new EspalierException($"{path}: is for inputs of {session.Channels} channels; images have 1 or 3");
            if (!session.GivesFeatures) return new ClassifierServed(name, session, settings);
        }
        catch
        {
            session.Dispose();
            throw;
        }
        ModelInfo info = InfoOf(name, session) with { Classes = 0 };
        session.Dispose();
        return new FeaturesServed(info, FeatureNetwork.Open(path), settings);
    }

    /// <exception cref="Refusal">It gives no classes, its queue is full, or its agents cannot do what is asked.</exception>
    public virtual Task<PictureAnswer> Predict(Image image, Question question, CancellationToken cancel) =>
        throw new Refusal(StatusCodes.Status404NotFound, $"{Name} gives features and no classes; ask /v1/embed");

    /// <summary>A vector of length 1.</summary>
    /// <exception cref="Refusal">It gives no features.</exception>
    public virtual Task<float[]> Embed(Image image, CancellationToken cancel) =>
        throw new Refusal(StatusCodes.Status404NotFound, $"{Name} gives classes and no features; ask /v1/predict, or a CLIP");

    /// <inheritdoc cref="Embed(Image, CancellationToken)"/>
    public virtual Task<float[]> Embed(string text, CancellationToken cancel) =>
        throw new Refusal(StatusCodes.Status404NotFound, $"{Name} knows no texts; serve a CLIP with a text tower");

    public abstract ValueTask DisposeAsync();

    /// <summary>Counts a computation.</summary>
    protected TimeSpan Count(int count, long started)
    {
        long took = Stopwatch.GetTimestamp() - started;
        Interlocked.Add(ref images, count);
        Interlocked.Increment(ref batches);
        Interlocked.Add(ref ticks, took);
        return Stopwatch.GetElapsedTime(0, took);
    }

    protected static ModelInfo InfoOf(string name, Session s) => new(name, s.Description, s.NumClasses, s.ImageSize,
        s.ParameterCount, s.DenseMultiplyAdds, s.AgentLayers, s.TokenGrid, s.PrefixTokens, s.Pruning.ToString(), s.Pruning.ThresholdOfAll,
        s.Pruning.ShareOfAll, Texts: false);
}

/// <summary>A network without a head: its features.</summary>
internal sealed class FeaturesServed : ServedModel
{
    private readonly FeatureNetwork network;
    // What waits is as large as the network's input, whatever picture was sent.
    private readonly Batcher<float[], float[]> batcher;

    public FeaturesServed(ModelInfo info, FeatureNetwork network, ServerSettings settings) : base(info.Name)
    {
        (Info, this.network) = (info, network);
        batcher = new Batcher<float[], float[]>(settings.MostTogether, settings.Queue, Run);
    }

    public override ModelInfo Info { get; }

    public override int Waiting => batcher.Waiting;

    public override Task<float[]> Embed(Image image, CancellationToken cancel) => batcher.Ask(network.Prepare(image), cancel);

    public override async ValueTask DisposeAsync()
    {
        await batcher.DisposeAsync();
        network.Dispose();
    }

    private float[][] Run(IReadOnlyList<float[]> inputs)
    {
        long started = Stopwatch.GetTimestamp();
        float[][] features = [.. inputs.Select(i => ClipModel.Normalised(network.EncodePrepared(i)))];
        Count(inputs.Count, started);
        return features;
    }
}

/// <summary>CLIP: images and texts in one space.</summary>
internal sealed class ClipServed : ServedModel
{
    private readonly ClipModel model;
    private readonly Batcher<float[], float[]> images;
    private readonly Batcher<string, float[]> texts;

    public ClipServed(string name, ClipModel model, ServerSettings settings) : base(name)
    {
        this.model = model;
        images = new Batcher<float[], float[]>(settings.MostTogether, settings.Queue, i => Run(i.Count, () => model.EncodePrepared(i)));
        texts = new Batcher<string, float[]>(settings.MostTogether, settings.Queue,
            t => Run(t.Count, () => model.EncodeText(t, truncate: true)));
        Info = new ModelInfo(name, model.Description, 0, model.Preprocessing.Size, 0, 0, [], 0, 0, Pruning.None.ToString(), null,
            null, model.KnowsTexts);
    }

    public override ModelInfo Info { get; }

    public override int Waiting => images.Waiting + texts.Waiting;

    public override Task<float[]> Embed(Image image, CancellationToken cancel) => images.Ask(model.Prepare(image), cancel);

    public override Task<float[]> Embed(string text, CancellationToken cancel) =>
        model.KnowsTexts ? texts.Ask(text, cancel) : base.Embed(text, cancel);

    public override async ValueTask DisposeAsync()
    {
        await images.DisposeAsync();
        await texts.DisposeAsync();
        model.Dispose();
    }

    private float[][] Run(int count, Func<float[][]> encode)
    {
        long started = Stopwatch.GetTimestamp();
        float[][] features = [.. encode().Select(ClipModel.Normalised)];
        Count(count, started);
        return features;
    }
}
