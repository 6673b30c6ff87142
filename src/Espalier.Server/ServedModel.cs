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

    /// <summary>A file that says which network it is of; or CLIP's two towers, by a published name, as a file or a folder.</summary>
    /// <exception cref="EspalierException">It is missing, damaged, of no images, or does not say which network it is of.</exception>
    public static ServedModel Open(string path, string name, ServerSettings settings)
    {
        try
        {
            return FeatureNetwork.Is(path) ? OpenNetwork(path, name, settings)
                : new ClipServed(name, ClipModel.Open(path, new ClipOptions { Vocabulary = settings.Vocabulary }), settings);
        }
        catch (EspalierException e)
        {
            if (UnnamedFile.Advice(path) is not { } line) throw;
            throw new EspalierException(line, e);
        }
    }

    private static ServedModel OpenNetwork(string path, string name, ServerSettings settings)
    {
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

    /// <param name="waits">Whether the image waits for room where the queue is full, and is not refused.</param>
    /// <returns>The answer to come, as soon as the image has its place in the queue.</returns>
    /// <exception cref="Refusal">It gives no classes, its queue is full, or its agents cannot do what is asked.</exception>
    public virtual Task<Task<PictureAnswer>> Predict(Image image, Question question, bool waits, CancellationToken cancel) =>
        throw new Refusal(StatusCodes.Status404NotFound, $"{Name} gives features and no classes; ask /v1/embed");

    /// <summary>A vector of length 1.</summary>
    /// <inheritdoc cref="Predict" path="/param|/returns"/>
    /// <exception cref="Refusal">It gives no features, or its queue is full.</exception>
    public virtual Task<Task<float[]>> Embed(Image image, bool waits, CancellationToken cancel) =>
        throw new Refusal(StatusCodes.Status404NotFound, $"{Name} gives classes and no features; ask /v1/predict, or a CLIP");

    /// <inheritdoc cref="Embed(Image, bool, CancellationToken)"/>
    /// <param name="truncate">Whether a text of more tokens than the tower reads is cut; its answer fails otherwise.</param>
    public virtual Task<Task<float[]>> Embed(string text, bool truncate, bool waits, CancellationToken cancel) =>
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

    public override Task<Task<float[]>> Embed(Image image, bool waits, CancellationToken cancel) =>
        batcher.Ask(network.Prepare(image), waits, cancel);

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
    private readonly Batcher<Text, float[]> texts;

    public ClipServed(string name, ClipModel model, ServerSettings settings) : base(name)
    {
        this.model = model;
        images = new Batcher<float[], float[]>(settings.MostTogether, settings.Queue, i => Run(i.Count, () => model.EncodePrepared(i)));
        texts = new Batcher<Text, float[]>(settings.MostTogether, settings.Queue,
            t => Run(t.Count, () => model.EncodeText([.. t.Select(text => text.Value)], t[0].Truncate)), t => t.Truncate);
        Info = new ModelInfo(name, model.Description, 0, model.Preprocessing.Size, 0, 0, [], 0, 0, Pruning.None.ToString(), null,
            null, model.KnowsTexts);
    }

    public override ModelInfo Info { get; }

    public override int Waiting => images.Waiting + texts.Waiting;

    public override Task<Task<float[]>> Embed(Image image, bool waits, CancellationToken cancel) =>
        images.Ask(model.Prepare(image), waits, cancel);

    public override Task<Task<float[]>> Embed(string text, bool truncate, bool waits, CancellationToken cancel) =>
        model.KnowsTexts ? texts.Ask(new Text(text, truncate), waits, cancel) : base.Embed(text, truncate, waits, cancel);

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

    private readonly record struct Text(string Value, bool Truncate);
}
