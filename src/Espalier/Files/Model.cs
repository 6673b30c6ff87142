using System.Text.Json;
using Espalier.Files;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;

namespace Espalier;

/// <summary>What is known of a file's network beside what the file says.</summary>
public sealed record OpenOptions
{
    /// <summary>
    /// The name of a preset ("resnet50", "ViT-B_16"), for weights whose file does not say what they are of. Classes, channels and
    /// image size are seen from the tensors.
    /// </summary>
    public string? Architecture { get; init => field = value is null ? null : PresetNames.Canonical(value); }

    /// <summary>The same for a transformer that is no preset; also in the place of what a file of format 1 says.</summary>
    public VitConfig? Config { get; init; }

    /// <summary>The number of classes wanted: where the file's head is for another number, or is missing, the model gets a fresh
    /// one.</summary>
    public int? Classes { get; init; }

    /// <summary>Whether the model gets a fresh head for <see cref="Classes"/> also where the file's is for as many.</summary>
    public bool NewHead { get; init; }

    /// <summary>The image size wanted: position embeddings are stretched to it.</summary>
    public int? ImageSize { get; init; }

    /// <summary>Of a training script's checkpoint with both, the averages of the weights (EMA) in the place of the weights.</summary>
    public bool AveragedWeights { get; init; }

    /// <summary>What fresh weights are drawn from.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Whether it may be a network of something else than square images.</summary>
    internal bool AnyInput { get; init; }
}

/// <summary>
/// A network and what is known of it: the graph with its weights, which the model owns, and a card. One file holds both, see
/// <see cref="Save(string, bool)"/>.
/// </summary>
public sealed class Model : IDisposable
{
    private Model(Graph graph, ModelCard card, LoadReport report) => (Graph, Card, Report) = (graph, card, report);

    /// <summary>images [B, C, S, S] -> logits [B, classes], features, or maps [B, classes, H, W]; of a text tower ids [B, T] ->
    /// features.</summary>
    public Graph Graph { get; }

    public ModelCard Card { get; set; }

    /// <summary>What became of the tensors of the file that it was read from.</summary>
    public LoadReport Report { get; private set; }

    /// <summary>Of the images: 3 for colour, 1 for grey; 0 of a network of texts.</summary>
    public int Channels => Graph.Inputs[0].Shape is { Rank: 4 } images ? images[1] : 0;

    /// <summary>Height and width of the images in pixels; 0 of a network of texts.</summary>
    public int ImageSize => Graph.Inputs[0].Shape is { Rank: 4 } images ? images[2] : 0;

    public int NumClasses => Graph.Outputs[0].Shape[1];

    /// <summary>The network in a few words, for people: "resnet20".</summary>
    public string Description => Card.Description ?? Card.Architecture ?? $"{Graph.Nodes.Count} layers";

    public long ParameterCount => Graph.Parameters.Sum(p => p.Value.Length);

    /// <summary>
    /// Reads a model of any format: safetensors of this library, of all its versions; networks in ONNX (.onnx); and weights that
    /// others published as safetensors, PyTorch archives (.pth) or numpy's .npz, whose network <paramref name="options"/> name.
    /// </summary>
    /// <exception cref="EspalierException">The file is missing or damaged, or its network is unknown or another one.</exception>
    public static Model Open(string path, OpenOptions? options = null)
    {
        options ??= new OpenOptions();
        if (OnnxNetwork.Is(path))
        {
            var (graph, card) = OnnxNetwork.Read(path, options);
            return Fitted(new Model(graph, card, LoadReport.Empty with { Matched = [.. graph.ReadWeights().Select(w => w.Name)] }), options, path,
                needsHead: options.Classes is { } classes && (options.NewHead || classes != graph.Outputs[0].Shape[1]));
        }
        using ModelReader reader = ModelReader.Open(path, options);
        return Fitted(Of(reader), options, path, reader.NeedsHead);
    }

    /// <summary>With all weights of a file.</summary>
    internal static Model Of(ModelReader reader)
    {
        reader.ReadAll();
        return new Model(reader.Graph, reader.Card, reader.Report);
    }

    /// <summary>With the head and the image size that were asked for.</summary>
    private static Model Fitted(Model model, OpenOptions options, string path, bool needsHead)
    {
        try
        {
            if (needsHead) model.NewHead(options, path);
            if ((options.ImageSize ?? options.Config?.ImageSize) is { } size && size != model.ImageSize) model.Resize(size, path);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>A preset with random weights.</summary>
    /// <param name="architecture">See <see cref="CnnPresets.Names"/> and <see cref="VitPresets.Names"/>.</param>
    /// <param name="classes">And the following: the preset's own where they are not given.</param>
    /// <param name="width">What the channel counts of a convolutional network are multiplied with.</param>
    /// <param name="start">How a transformer's weights begin.</param>
    /// <exception cref="EspalierException">There is no such preset, or a number is out of its range.</exception>
    public static Model Create(string architecture, int? classes = null, int? channels = null, int? imageSize = null,
        ulong seed = 42, double width = 1, VitStart start = VitStart.Published)
    {
        architecture = PresetNames.Canonical(architecture);
        if (CnnPresets.Names.Contains(architecture))
        {
            CnnConfig cnn = CnnPresets.Get(architecture);
            return FromModule(CnnPresets.Create(cnn with
            {
                NumClasses = classes ?? cnn.NumClasses, Channels = channels ?? cnn.Channels,
                ImageSize = imageSize ?? cnn.ImageSize, Width = width,
            }, seed));
        }
        VitConfig vit = VitPresets.Get(architecture);
        if (width != 1)
            throw new EspalierException($"{architecture}: is a transformer, and widths are of convolutional networks");
        vit = vit with
        {
            NumClasses = classes ?? vit.NumClasses, Channels = channels ?? vit.Channels, ImageSize = imageSize ?? vit.ImageSize,
        };
        return FromModule(new VisionTransformer(vit.Checked(architecture), seed, start: start));
    }

    /// <summary>The graph of a module, whose weights the model owns from now on.</summary>
    public static Model FromModule(ImageClassifier net, ModelCard? card = null)
    {
        Graph graph = net.Trace();
        foreach (Tensor unread in graph.DropUnreadWeights()) unread.Dispose();
        card ??= new ModelCard();
        return new Model(graph, card with
        {
            Architecture = card.Architecture ?? (net as Cnn)?.Config.Network ?? (net as VisionTransformer)?.Config.Preset,
            Description = card.Description ?? net.Description,
            Preprocessing = card.Preprocessing ?? (net is Cnn or VisionTransformer ? PreprocessingDefaults.For(net) : null),
        }, LoadReport.Empty);
    }

    /// <summary>Another model with the same weights, to be changed while this one stays.</summary>
    public Model Copy()
    {
        using var json = new MemoryStream();
        using (var writer = new Utf8JsonWriter(json)) GraphFile.Write(writer, Graph);
        using JsonDocument document = JsonDocument.Parse(json.ToArray());
        Dictionary<string, GraphValue> weights = Graph.ReadWeights().ToDictionary(w => w.Name);
        Graph copy = GraphFile.Read(document.RootElement, Description, weights.ToDictionary(w => w.Key, w => w.Value.Shape.ToArray()),
            name => weights[name].Tensor.ToArray());
        foreach (GraphValue weight in copy.ReadWeights())
        {
            Tensor from = weights[weight.Name].Tensor;
            if (!weight.Tensor.IsMeta)
            {
                weight.Tensor.CopyFrom(from);
                continue;
            }
            using Tensor values = Tensor.Unscoped(from.Shape);
            values.CopyFrom(from);
            weight.Tensor.Exchange(values);
        }
        return new Model(copy, Card, Report);
    }

    /// <summary>
    /// Gives the network a fresh head for other classes, to be fine-tuned: the linear layers (or 1x1 convolutions) that make the
    /// logits.
    /// </summary>
    /// <exception cref="EspalierException">Something else makes the logits.</exception>
    public void ReplaceHead(int classes, ulong seed = 42)
    {
        if (classes < 1) throw new EspalierException($"a head is for at least one class, not {classes}");
        RequireHead(Description);
        ModelHead.Replace(Graph, classes, seed, Description);
        Card = Card with { Classes = null };
    }

    /// <inheritdoc cref="ReplaceHead(int, ulong)"/>
    /// <param name="classes">Their names, in the order of the logits.</param>
    public void ReplaceHead(IReadOnlyList<string> classes, ulong seed = 42)
    {
        ReplaceHead(classes.Count, seed);
        Card = Card with { Classes = classes };
    }

    /// <summary>Sets what is kept wherever agents drop tokens, or, in a network without agents, wherever it drops any; nothing where
    /// it drops none.</summary>
    /// <exception cref="EspalierException">There are no agents, and the network's own rules are of another kind.</exception>
    public void SetKeepRule(KeepRule rule)
    {
        var places = new RuledPlaces(Graph);
        RuledPlaces.Check(rule, places.Own);
        foreach (GraphNode node in Graph.Nodes)
            if (node.Op is KeepRowsOp old && places.Contains(node))
                node.Op = Graph.Ran(new KeepRowsOp(old.Inputs[0], old.Inputs[1], rule, old.Prefix, old.Fuse), node.Output);
        Graph.Refresh();
    }

    /// <summary>
    /// Writes graph, weights and card as one safetensors file, which appears whole or not at all. Weights that the network uses in
    /// few bits are stored in as many: the file's network gives the same logits. A path that ends in .onnx gets a file of ONNX, see
    /// <see cref="OnnxFile"/>.
    /// </summary>
    /// <param name="keepFloats">Whether such weights are stored as they are instead, for training to go on with them.</param>
    /// <exception cref="EspalierException">It cannot be written.</exception>
    public void Save(string path, bool keepFloats = false)
    {
        ModelCard card = Card.Checked(path, Graph);
        if (OnnxNetwork.Is(path)) this.ExportOnnx(path);
        else ModelFormat.Write(path, Graph, card, keepFloats);
    }

    public void Dispose()
    {
        foreach (GraphValue weight in Graph.Weights.Values) weight.Tensor.Dispose();
    }

    private void Resize(int size, string path)
    {
        Report = Report with { Resized = ModelSize.Change(
            Graph, size, Card.Positions ?? PositionResizeKind.BilinearAlignCorners, path) };
        Card = Card with { Preprocessing = Card.Preprocessing?.ForSize(size) };
    }

    private void RequireHead(string source)
    {
        if (Card.Features)
            throw new EspalierException($"{source}: gives features and has no head; open the file that it was read from with Classes");
    }

    private void NewHead(OpenOptions options, string path)
    {
        RequireHead(path);
        string[] head = [.. ModelHead.Weights(ModelHead.Find(Graph, path)).Select(w => w.Name)];
        ModelHead.Replace(Graph, options.Classes!.Value, options.Seed, path);
        Card = Card with { Classes = null };
        Report = Report with
        {
            Matched = [.. Report.Matched.Except(head)], Replaced = [.. head.Except(Report.Missing)],
        };
    }
}
