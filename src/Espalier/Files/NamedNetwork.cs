using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Files;

/// <summary>
/// Graphs of networks that a name stands for: published weights, and files of format 1, whose block has the name and numbers. The
/// module is made of shapes alone, takes the shapes that the file's tensors have, and is forgotten once it is traced.
/// </summary>
internal static class NamedNetwork
{
    /// <summary>The network that a preset's name stands for, with the classes, channels and image size of the file's tensors.
    /// </summary>
    public static (Graph Graph, ModelCard Card) Open(ModelTensors file, string architecture, OpenOptions options)
    {
        if (!CnnPresets.Names.Contains(architecture)) return Vit(file, Fitted(file, VitPresets.Get(architecture)), options);
        CnnConfig config = Fitted(file, CnnPresets.Get(architecture));
        if (options.ImageSize is { } size) config = config with { ImageSize = size };
        return Cnn(file, new CnnStructure { Config = config, Preprocessing = PreprocessingDefaults.For(config) });
    }

    /// <param name="structure">What the file's block says, or what is given in its place.</param>
    public static (Graph Graph, ModelCard Card) Cnn(ModelTensors file, CnnStructure structure)
    {
        CnnConfig config = structure.Config.Checked(file.Source);
        using InitSkip _ = Init.ShapesOnly();
        Cnn net = CnnPresets.Create(config, 0, file.Source);
        Graph graph = Traced(file, config.Network, net, () =>
        {
            StoredScatters.Add(net, file);
            TakeShapes(net, file);
            return net.Trace();
        });
        return (graph, new ModelCard
        {
            Architecture = config.Network, Description = net.Description, Classes = structure.ClassNames,
            Dataset = structure.Dataset, Preprocessing = structure.Preprocessing,
        });
    }

    /// <summary>A transformer of sizes that the file does not say.</summary>
    public static (Graph Graph, ModelCard Card) Vit(ModelTensors file, VitConfig config, OpenOptions options)
    {
        VitForm form = FormOf(file, options);
        return Vit(file, new ModelStructure { Config = config, Preprocessing = PreprocessingDefaults.For(config, file, form) }, options, form);
    }

    /// <param name="structure">What the file's block says, or what is given in its place.</param>
    public static (Graph Graph, ModelCard Card) Vit(ModelTensors file, ModelStructure structure, OpenOptions options) =>
        Vit(file, structure, options, FormOf(file, options));

    private static (Graph Graph, ModelCard Card) Vit(ModelTensors file, ModelStructure structure, OpenOptions options, VitForm form)
    {
        VitConfig config = structure.Config;
        if (form.Head && !file.Shapes.ContainsKey("head.weight") && options.Classes is { } classes)
            structure = structure with { Config = config = config with { NumClasses = classes }, ClassNames = null };
        structure.Checked(file.Source);
        if (file.Heads is { } heads && heads != config.NumHeads)
            throw new EspalierException($"{file.Source}: is of a model with {heads} attention heads, not {config.NumHeads}; "
                + "correct numHeads in the configuration");
        int agents = file.Shapes.Keys.Where(k => k.StartsWith(TokenAgent.Prefix, StringComparison.Ordinal))
            .Select(k => k[TokenAgent.Prefix.Length..].Split('.')[0]).Distinct().Count();
        int[] layers = agents == 0 ? [] : config.PruneLayers ?? config.DefaultPruneLayers();
        if (agents != layers.Length)
            throw new EspalierException($"{file.Source}: has {agents} agents, but the configuration names {layers.Length} "
                + "pruneLayers; give the blocks that they act after");
        using InitSkip _ = Init.ShapesOnly();
        var vit = new VisionTransformer(config, form: form);
        Graph graph = Traced(file, config.Preset ?? "the configuration", vit, () =>
        {
            Graph whole = vit.Trace();
            var rng = new Rng(0);
            for (int i = 0; i < layers.Length; i++)
            {
                TokenAgent.Create(config.HiddenSize, ref rng).InsertInto(whole, whole[VisionTransformer.BlockName(layers[i])], i,
                    KeepRule.AtLeast(-(structure.Threshold ?? 0.5f)), form.Prefix(config));
            }
            return whole;
        });
        return (graph, new ModelCard
        {
            Architecture = config.Preset, Description = vit.Description, Classes = form.Head ? structure.ClassNames : null,
            Dataset = structure.Dataset, Preprocessing = structure.Preprocessing, Features = !form.Head,
            Positions = VitTensors.Resizing(file, config, form),
        });
    }

    private static VitForm FormOf(ModelTensors file, OpenOptions options)
    {
        int? stored = file.Shapes.GetValueOrDefault("head.weight") is [var rows, ..] ? rows : null;
        return VitTensors.Form(file, options.Classes, options.NewHead || (options.Classes is { } classes && classes != stored));
    }

    /// <summary>A shape with the classes, channels and image size of a file's tensors, where they are there to be seen.</summary>
    public static VitConfig Fitted(ModelTensors file, VitConfig shape)
    {
        if (file.Shapes.GetValueOrDefault("head.weight") is [var classes, _]) shape = shape with { NumClasses = classes };
        if (shape.Stem == VitStem.Patches && file.Shapes.GetValueOrDefault(VitNames.Embeddings + "patch_embeddings.weight") is [_,
            var channels, _, _])
            shape = shape with { Channels = channels };
        return VitTensors.Grid(file, shape).Checked(file.Source);
    }

    /// <summary>The same of a convolutional network: what its first layer reads and its last one makes.</summary>
    private static CnnConfig Fitted(ModelTensors file, CnnConfig config)
    {
        using InitSkip _ = Init.ShapesOnly();
        using Cnn net = CnnPresets.Create(config);
        Graph graph = net.Trace();
        string? first = graph.Nodes.FirstOrDefault(n => n.Op is Conv2dOp && n.Operands[0] == graph.Inputs[0])?.Operands[1]?.Name;
        string last = ModelHead.Find(graph, file.Source)[0].Operands[1]!.Name;
        if (first is not null && file.Shapes.GetValueOrDefault(first) is [_, var channels, _, _])
            config = config with { Channels = channels };
        if (file.Shapes.GetValueOrDefault(last) is [var classes, ..]) config = config with { NumClasses = classes };
        return config.Checked(file.Source);
    }

    /// <summary>Every tensor takes the shape that the file has under its name; lists of channels their numbers, too.</summary>
    private static void TakeShapes(Cnn net, ModelTensors file)
    {
        Dictionary<string, float[]> lists = PublishedLists.Read(net, file);
        foreach (var (name, tensor) in net.StateDict())
        {
            if (!file.Shapes.TryGetValue(name, out int[]? stored) && !lists.ContainsKey(name)) continue;
            bool isList = name.EndsWith(".index", StringComparison.Ordinal);
            float[]? list = lists.GetValueOrDefault(name) ?? (isList && stored!.Length == 1 ? file.Read(name) : null);
            Shape shape = list is null ? new Shape(stored) : new Shape(list.Length);
            bool fits = shape.Rank == tensor.Rank;
            for (int axis = 0; fits && axis < shape.Rank; axis++) fits = shape[axis] >= 1 && shape[axis] <= tensor.Shape[axis];
            if (!fits)
                throw new ArgumentException($"'{name}' has shape {shape}, which cannot be left of {tensor.Shape} by pruning");
            if (shape == tensor.Shape && list is null) continue;
            using Tensor other = tensor.IsMeta ? Tensor.Meta(shape) : Tensor.Unscoped(shape);
            list?.CopyTo(other.Span);
            tensor.Exchange(other);
        }
    }

    /// <summary>The graph takes the module's tensors over.</summary>
    private static Graph Traced(ModelTensors file, string network, Module net, Func<Graph> trace)
    {
        try
        {
            Graph graph = trace();
            foreach (Tensor unread in graph.DropUnreadWeights()) unread.Dispose();
            return graph;
        }
        catch (Exception e) when (e is ArgumentException or ArithmeticException)
        {
            net.Dispose();
            throw new EspalierException($"{file.Source}: its tensors do not fit together: {e.Message.ReplaceLineEndings(" ")}; "
                + $"it is not of {network}", e);
        }
    }
}
