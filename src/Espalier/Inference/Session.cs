using Espalier.Files;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>
/// Inference with any graph: weights packed once, norms and activations folded into products, maps in memory planned once, work
/// spread over threads. After the first calls of a size nothing is allocated, but by ops of which there is no faster form; those
/// run as they are. A session may be used from several threads; calls then wait for one another.
/// </summary>
public sealed unsafe class Session : IDisposable
{
    private readonly Lock gate = new();
    private readonly Plan plan;
    private readonly Scheduler scheduler;
    private readonly RowCosts costs;
    private readonly KeepRule[] rules;
    private readonly Shape input, result;
    private Preprocessing? preprocessing;

    /// <summary>A session with the weights that the graph has now; it may change or go afterwards.</summary>
    /// <param name="graph">Of one input. Its outputs have as many values of each image as of any other.</param>
    /// <param name="read">Reads the weights that are shapes only (see <see cref="Tensor.IsMeta"/>), each when it is packed, so
    /// that a model from a file is never in memory twice.</param>
    /// <exception cref="EspalierException">The graph cannot be computed image by image; or the options ask for a precision that
    /// there is no kernel or no use for, or for dropping tokens where nothing does.</exception>
    public Session(Graph graph, SessionOptions? options = null, WeightReader? read = null)
    {
        if (graph.Inputs.Count != 1)
            throw new EspalierException($"a session runs graphs of one input, not of {graph.Inputs.Count}");
        options ??= new SessionOptions();
        (input, Precision) = (graph.Inputs[0].Shape, options.Precision);
        costs = new RowCosts(graph);
        rules = new RuledPlaces(graph).Own;
        ParameterCount = graph.Parameters.Sum(p => p.Value.Length);
        (TokenGrid, PrefixTokens) = Patches(graph);
        (result, Places) = (graph.Outputs[0].Shape, graph.Outputs[0].Shape is { Rank: 4 } maps ? maps[2] * maps[3] : 1);
        plan = new Plan(graph, options.Precision, read);
        ResultValues = plan.OutputValues.Sum();
        scheduler = new Scheduler(plan, costs.Dense, options.TriesThreads);
        try
        {
            Pruning = options.Pruning ?? Pruning.Of(graph);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>A session with the weights that a network has now.</summary>
    /// <inheritdoc cref="Session(Graph, SessionOptions, WeightReader)" path="/exception"/>
    public static Session Of(ImageClassifier net, SessionOptions? options = null) =>
        new(net.Trace(), options) { Description = net.Description };

    /// <summary>A session with the weights that a model has now; it may be disposed afterwards.</summary>
    /// <inheritdoc cref="Session(Graph, SessionOptions, WeightReader)" path="/exception"/>
    public static Session Of(Model model, SessionOptions? options = null) => Of(model.Graph, model.Card, options, null);

    /// <summary>A session straight from a model file of any format, see <see cref="Model.Open"/>. Each weight is read when it is
    /// packed, so that the model is in memory once.</summary>
    /// <exception cref="EspalierException">The file is missing or damaged, its network is unknown or another one, or it is not for
    /// such a session.</exception>
    public static Session Open(string path, OpenOptions? open = null, SessionOptions? options = null)
    {
        open ??= new OpenOptions();
        if (!Onnx.OnnxNetwork.Is(path))
        {
            using ModelReader reader = ModelReader.Open(path, open);
            if (!reader.NeedsChange) return Of(reader.Graph, reader.Card, options, reader.Read);
        }
        using Model model = Model.Open(path, open);
        return Of(model, options);
    }

    /// <summary>A session of an open file, of which each weight is read when it is packed.</summary>
    internal static Session Of(ModelReader file, SessionOptions? options) => Of(file.Graph, file.Card, options, file.Read);

    private static Session Of(Graph graph, ModelCard card, SessionOptions? options, WeightReader? read) =>
        new(graph, options, read)
        {
            Description = card.Description ?? card.Architecture ?? "a network", ClassNames = card.Classes, Dataset = card.Dataset,
            preprocessing = card.Preprocessing, GivesFeatures = card.Features,
        };

    /// <summary>Whether its outputs are features and no logits of classes.</summary>
    public bool GivesFeatures { get; private init; }

    /// <summary>The network in a few words, for people: "resnet20".</summary>
    public string Description { get; init; } = "a network";

    /// <summary>Of the images: 3 for colour, 1 for grey.</summary>
    public int Channels => input.Rank == 4 ? input[1] : 0;

    /// <summary>Height and width of the images in pixels.</summary>
    public int ImageSize => input.Rank == 4 ? input[2] : 0;

    /// <summary>Of the first output: values of an image, or of each place of its map.</summary>
    public int NumClasses => OutputValues[0] / Places;

    /// <summary>Places of an image with an answer each: 1 of logits [N, classes], H W of maps [N, classes, H, W].</summary>
    public int Places { get; }

    /// <summary>Values of an image of each output.</summary>
    public IReadOnlyList<int> OutputValues => plan.OutputValues;

    /// <summary>The same of all outputs, which is what a call gives for each image.</summary>
    public int ResultValues { get; }

    /// <exception cref="EspalierException">The first output is no logits [N, classes].</exception>
    internal void RequireLogits()
    {
        if (Places > 1)
            throw new EspalierException($"{Description}: gives maps of {NumClasses} channels, and one answer an image is asked for");
        if (result.Rank is not (2 or 4)) throw new EspalierException($"{Description}: gives {result}, and no logits of classes");
    }

    /// <summary>Names of the classes, in the order of the logits; null where the file does not say.</summary>
    public IReadOnlyList<string>? ClassNames { get; set; }

    /// <summary>The data set that it was trained on; null where the file does not say.</summary>
    public string? Dataset { get; init; }

    /// <summary>How images become its input.</summary>
    public Preprocessing Preprocessing
    {
        get => preprocessing ??= Preprocessing.Half(ImageSize, Channels);
        set => preprocessing = value;
    }

    public Precision Precision { get; }

    /// <summary>Numbers that are trained.</summary>
    public long ParameterCount { get; }

    /// <summary>Multiply-adds of one image of which nothing is dropped, as the literature counts them.</summary>
    public double DenseMultiplyAdds => costs.Dense;

    /// <summary>Blocks (0-based) after which an agent drops tokens; empty where there is none.</summary>
    public IReadOnlyList<int> AgentLayers => costs.KeepsAfter;

    /// <summary>Tokens of an image before any is dropped; 0 of a network without tokens.</summary>
    public int Tokens => plan.Tokens;

    /// <summary>Patches of an image side by side; 0 of a network without.</summary>
    public int TokenGrid { get; }

    /// <summary>Tokens before those of the patches.</summary>
    public int PrefixTokens { get; }

    /// <summary>What is dropped where a call does not say.</summary>
    /// <exception cref="EspalierException">Nothing in the network drops tokens, or no agents do and the network's own rules are of
    /// another kind.</exception>
    public Pruning Pruning
    {
        get;
        set
        {
            Checked(value);
            if (value.Rule is { } rule) RuledPlaces.Check(rule, rules);
            field = value;
        }
    }

    /// <summary>Bytes that the packed weights take.</summary>
    public long WeightBytes => plan.WeightBytes;

    /// <summary>Multiply-adds of one image as the literature counts them: what is left out or folded is counted, too, and what
    /// decides on tokens, where any were dropped.</summary>
    /// <param name="tokens">As in <see cref="TokenTrace.Counts"/>.</param>
    public long MultiplyAdds(ReadOnlySpan<int> tokens) => costs.Of(tokens);

    /// <summary>images -> results, pruned by <see cref="Pruning"/>.</summary>
    /// <inheritdoc cref="Run(ReadOnlySpan{float}, int, Span{float}, Pruning, TokenTrace)"/>
    public void Run(ReadOnlySpan<float> images, int batch, Span<float> results, TokenTrace? tokens = null) =>
        Run(images, batch, results, Pruning, tokens);

    /// <summary>images -> results.</summary>
    /// <param name="images">[batch, ..], such as [batch, C, S, S], normalised as in training.</param>
    /// <param name="results">[batch, classes], written; of several outputs one after another, each [batch, ..].</param>
    /// <param name="tokens">Receives which tokens were left; null where nobody asks.</param>
    /// <exception cref="ArgumentException">A span has another length.</exception>
    /// <exception cref="EspalierException">Nothing in the network drops tokens, or an image has none left.</exception>
    public void Run(ReadOnlySpan<float> images, int batch, Span<float> results, Pruning pruning, TokenTrace? tokens = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(batch);
        long values = plan.InputValues, outputs = ResultValues;
        if (images.Length != batch * values)
            throw new ArgumentException($"{images.Length} values for {batch} images of {values}");
        if (results.Length != batch * outputs)
            throw new ArgumentException($"{results.Length} values for {batch} results of {outputs}");
        Checked(pruning);
        lock (gate)
        {
            tokens?.Begin(batch, plan.Tokens == 0 ? 0 : pruning.IsActive ? 1 + plan.Stages : 1, plan.Tokens);
            fixed (float* x = images, y = results)
                scheduler.Run(new Scheduler.Call(x, y, batch, pruning.Rule, tokens, pruning.IsUneven));
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            plan.Dispose();
            scheduler.Dispose();
        }
    }

    /// <summary>Where the graph cuts images into patches: how many side by side, and how many tokens come before them.</summary>
    private static (int Grid, int Prefix) Patches(Graph graph)
    {
        GraphNode? patches = graph.Nodes.FirstOrDefault(n => n.Op is PatchesToRowsOp);
        GraphNode? tokens = graph.Nodes.FirstOrDefault(n => n.Op is AssembleTokensOp);
        if (patches?.Output.Tensor.Rows is not { } rows) return (0, 0);
        int prefix = tokens?.Output.Tensor.Rows is { } all ? all.MaxLength - rows.MaxLength : 0;
        return (patches.Operands[0]!.Shape[3] / patches.Op.Settings.Int("patch"), prefix);
    }

    private Pruning Checked(Pruning pruning) => pruning.IsActive && plan.Stages == 0
        ? throw new EspalierException("this model has no agents that drop tokens, so it cannot be pruned; use Pruning.None")
        : pruning;
}

/// <summary>From a model to its session.</summary>
public static class ModelSessions
{
    /// <summary>A session with the weights that the model has now; it may be disposed afterwards.</summary>
    /// <inheritdoc cref="Inference.Session(Graph, SessionOptions, WeightReader)" path="/exception"/>
    public static Session Session(this Model model, SessionOptions? options = null) => Inference.Session.Of(model, options);
}
