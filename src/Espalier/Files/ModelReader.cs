using Espalier.Models;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Files;

/// <summary>
/// An open model file: the graph with the shapes of its weights is known and checked, the weights are read one by one when they
/// are asked for. For a session, which packs each of them and needs it no more.
/// </summary>
internal sealed class ModelReader : IDisposable
{
    private readonly ModelTensors file;
    private readonly HashSet<string> newHead = [];
    private bool handedOver;

    private ModelReader(ModelTensors file, OpenOptions options, (Graph Graph, ModelCard Card)? known = null)
    {
        this.file = file;
        (Graph, Card) = known ?? Describe(file, options);
        string network = Card.Architecture ?? Card.Description ?? "the network";
        if (!options.AnyInput) RequireClassifier();
        if (options.Classes is { } classes)
        {
            GraphValue[] head = [.. ModelHead.Weights(ModelHead.Find(Graph, Source))];
            bool fits = classes == NumClasses && head.All(w => file.Shapes.TryGetValue(w.Name, out int[]? stored)
                && stored.AsSpan().SequenceEqual(w.Shape.ToArray()));
            if (!fits || options.NewHead)
                newHead.UnionWith(head.Select(w => w.Name));
        }
        Report = WeightMatch.Check(Graph, file, network, newHead) with { Note = file.Note };
        // Names of classes are those of the head that goes.
        (newHead.Count == 0 ? Card : Card with { Classes = null }).Checked(Source, Graph);
        NeedsChange = newHead.Count > 0 || (options.ImageSize ?? options.Config?.ImageSize ?? ImageSize) != ImageSize;
        // Statistics and lists, which are short.
        foreach (GraphValue weight in Graph.ReadWeights())
            if (!weight.Tensor.IsMeta && file.Shapes.ContainsKey(weight.Name)) Read(weight, weight.Tensor.Span);
    }

    public string Source => file.Source;

    /// <summary>Its weights have no values, but for running statistics and lists of channels.</summary>
    public Graph Graph { get; }

    public ModelCard Card { get; }

    public LoadReport Report { get; }

    /// <summary>Whether the head that was asked for is not the file's.</summary>
    public bool NeedsHead => newHead.Count > 0;

    /// <summary>Whether the file's head or image size is not the one that was asked for.</summary>
    public bool NeedsChange { get; }

    private int NumClasses => Graph.Outputs[0].Shape[1];

    private int ImageSize => Graph.Inputs[0].Shape is { Rank: 4 } images ? images[2] : 0;

    /// <exception cref="EspalierException">The file is missing, damaged, or of a network that it does not say.</exception>
    public static ModelReader Open(string path, OpenOptions options)
    {
        ModelTensors file = ModelTensors.Open(path, options.AveragedWeights);
        try
        {
            file = ModelFormat.Decoded(file);
            if (ClipLayout.Of(file, () => new ClipBeside(path)) is not { } clip) return new ModelReader(file, options);
            if (options.Architecture is not null || options.Config is not null)
                throw new EspalierException($"{path}: is of CLIP's two towers; leave Architecture and Config out");
            return Of(clip.Image, clip.ImageTower(), options);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Tensors of which it is known what they are of.</summary>
    /// <exception cref="EspalierException">They are of something else.</exception>
    public static ModelReader Of(ModelTensors file, (Graph Graph, ModelCard Card) network, OpenOptions options)
    {
        try
        {
            return new ModelReader(file, options, network);
        }
        catch
        {
            foreach (GraphValue weight in network.Graph.Weights.Values) weight.Tensor.Dispose();
            throw;
        }
    }

    /// <summary>Copies the values of a weight; threads may call it at once.</summary>
    /// <exception cref="EspalierException">They cannot be read, or are not finite.</exception>
    public void Read(GraphValue weight, Span<float> destination)
    {
        file.Read(weight.Name, destination);
        if (!TensorPrimitives.IsFiniteAll<float>(destination))
            throw new EspalierException($"{Source}: {weight.Name} holds NaN or infinite values; the file is damaged or its "
                + "training diverged");
    }

    /// <summary>Reads all weights, which are the caller's from now on; those of a head that is going to be replaced are zero.
    /// </summary>
    public void ReadAll()
    {
        foreach (GraphValue weight in Graph.ReadWeights())
        {
            if (!weight.Tensor.IsMeta) continue;
            using Tensor values = Tensor.Unscoped(weight.Shape);
            if (file.Shapes.ContainsKey(weight.Name) && !newHead.Contains(weight.Name)) Read(weight, values.Span);
            else values.Fill(0);
            weight.Tensor.Exchange(values);
        }
        handedOver = true;
    }

    public void Dispose()
    {
        file.Dispose();
        if (handedOver) return;
        foreach (GraphValue weight in Graph.Weights.Values) weight.Tensor.Dispose();
    }

    private static (Graph Graph, ModelCard Card) Describe(ModelTensors file, OpenOptions options)
    {
        // A name that is none is said even where the file needs none.
        if (options.Architecture is { } given && !CnnPresets.Names.Contains(given)) VitPresets.Get(given);
        if (options is { Architecture: not null, Config: not null })
            throw new EspalierException("Config and Architecture both give the network's shape; give one of them");
        switch (ModelFormat.Kind(file.Metadata, file.Source))
        {
            case { Format: ModelFormat.Current or ModelFormat.WithCodes } or { Architecture: CnnStructure.KnownArchitecture }
                when options.Config is not null:
                throw new EspalierException($"{file.Source}: says itself which network it is of; leave Config out");
            case { Format: ModelFormat.Current or ModelFormat.WithCodes }:
                var (graph, card) = ModelFormat.Read(file);
                if (card.Architecture is { } name) RequireName(file, options, name);
                return (graph, card);
            case { Format: 1, Architecture: CnnStructure.KnownArchitecture }:
                CnnStructure cnn = CnnStructure.Parse(file.Metadata[ModelStructure.MetadataKey], file.Source);
                RequireName(file, options, cnn.Config.Network);
                return NamedNetwork.Cnn(file, options.ImageSize is not { } size ? cnn : cnn with
                {
                    Config = cnn.Config with { ImageSize = size }, Preprocessing = cnn.Preprocessing?.ForSize(size),
                });
            case { Format: 1 }:
                if (options.Architecture is { } vit)
                {
                    if (CnnPresets.Names.Contains(vit)) RequireName(file, options, "a vision transformer ('vit')");
                    options = options with { Config = NamedNetwork.Fitted(file, VitPresets.Get(vit)) };
                }
                return Vit(file, ModelStructure.Parse(file.Metadata[ModelStructure.MetadataKey], file.Source), options);
            case { } other:
                throw new EspalierException($"{file.Source}: is of format {other.Format}, and 1 to {ModelFormat.WithCodes} are "
                    + "read; use the version that wrote it");
        }
        if (options.Config is not null) return Vit(file, null, options);
        if (options.Architecture is { } published) return NamedNetwork.Open(file, published, options);
        return VitTensors.Sizes(file) is { } sizes ? NamedNetwork.Vit(file, sizes, options)
            : throw new EspalierException($"{file.Source}: says nothing of the network's shape; give its name as Architecture"
                + $"{CnnNames.Hint(file.Shapes)}, or its numbers as Config");
    }

    /// <summary>A name that is given must be the file's own.</summary>
    private static void RequireName(ModelTensors file, OpenOptions options, string network)
    {
        if (options.Architecture is { } given && !given.Equals(network, StringComparison.OrdinalIgnoreCase))
            throw new EspalierException($"{file.Source}: is of {network}, not of {given}; leave Architecture out");
    }

    /// <summary>The shape that is given wins over the file's block; positions of another grid are stretched later.</summary>
    private static (Graph Graph, ModelCard Card) Vit(ModelTensors file, ModelStructure? block, OpenOptions options)
    {
        if (options.Config is not { } config)
            return NamedNetwork.Vit(file, block! with { Config = VitTensors.Grid(file, block.Config) }, options);
        if (block is not null && block.Config.NumHeads != config.NumHeads)
            throw new EspalierException($"{file.Source}: is of a model with {block.Config.NumHeads} attention heads, not "
                + $"{config.NumHeads}; correct numHeads in the configuration");
        config = VitTensors.Grid(file, config with { PruneLayers = config.PruneLayers ?? block?.Config.PruneLayers });
        if (block is null) return NamedNetwork.Vit(file, config, options);
        return NamedNetwork.Vit(file, block with
        {
            Config = config, ClassNames = config.NumClasses == block.Config.NumClasses ? block.ClassNames : null,
            Preprocessing = block.Preprocessing?.ForSize(config.ImageSize),
        }, options);
    }

    private void RequireClassifier()
    {
        bool fits = Graph.Inputs is [{ Shape: { Rank: 4 } images }] && images[2] == images[3]
            && Graph.Outputs is [{ Shape: { Rank: >= 2 } results }, ..] && results[0] == images[0];
        if (fits) return;
        throw new EspalierException($"{Source}: is no network from square images to logits or maps, but from "
            + $"{string.Join(", ", Graph.Inputs)} to {string.Join(", ", Graph.Outputs)}");
    }
}
