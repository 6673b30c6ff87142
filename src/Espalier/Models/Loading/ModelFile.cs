using Espalier.Compression.Apt;
using Espalier.Formats;
using Espalier.Nn;

namespace Espalier.Models;

/// <summary>A model read from a file.</summary>
/// <param name="Vit">The transformer.</param>
/// <param name="Apt">The same with its agents, or null where the file has none.</param>
/// <param name="Structure">What the file, or the given configuration, says of it.</param>
public sealed record LoadedModel(VisionTransformer Vit, AptModel? Apt, ModelStructure Structure, LoadReport Report) : IDisposable
{
    public Module Module => Apt is null ? Vit : Apt;

    public void Dispose() => Module.Dispose();
}

/// <summary>
/// Model files: reads every supported format (see <see cref="CheckpointFile"/>) under the published names, writes safetensors
/// with a structure block.
/// </summary>
public static class ModelFile
{
    private const string AgentPrefix = "transformer.encoder.clip_layer.";

    /// <summary>Reads a finished model: every tensor must be there.</summary>
    /// <param name="config">The shape, where the file has no structure block; it wins over one.</param>
    /// <exception cref="EspalierException">The file cannot be read, or its tensors are not of that shape.</exception>
    public static LoadedModel Load(string path, VitConfig? config = null)
    {
        using ModelTensors file = ModelTensors.Open(path);
        var (structure, layers) = Describe(file, config);
        using InitSkip _ = Init.Skip();
        var vit = new VisionTransformer(structure.Config);
        AptModel? apt = layers.Length > 0 ? new AptModel(vit, layers) { Threshold = structure.Threshold ?? 0.5f } : null;
        var model = new LoadedModel(vit, apt, structure, LoadReport.Empty);
        try
        {
            LoadReport report =
                StateLoader.Load(model.Module, structure.Config, file, _ => false, replaceHead: false, whole: false);
            model.Module.Training = false;
            return model with { Report = report };
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>What a finished model's file, completed by a given shape, says of it; and the blocks after which its agents act.
    /// </summary>
    internal static (ModelStructure Structure, int[] AgentLayers) Describe(ModelTensors file, VitConfig? config)
    {
        ModelStructure structure = Choose(file, config);
        CheckHeads(file, structure.Config);
        int agents = CountAgents(file);
        if (agents == 0) return (structure, []);
        int[] layers = structure.Config.PruneLayers ?? structure.Config.DefaultPruneLayers();
        if (agents != layers.Length)
            throw new EspalierException($"{file.Source}: has {agents} agents, but the configuration names {layers.Length} "
                + "pruneLayers; give the blocks that they act after with --config");
        return (structure, layers);
    }

    /// <summary>
    /// Reads what fits into an existing model, to train it further: head and agents may be new. Where it throws, the model is
    /// as it was.
    /// </summary>
    /// <param name="replaceHead">Whether a head for another number of classes is passed over; else it is an error.</param>
    /// <exception cref="EspalierException">Unreadable; or lacks a tensor of the backbone, or has one of another shape.</exception>
    public static LoadReport LoadInto(Module model, VitConfig config, string path, bool replaceHead = true)
    {
        using ModelTensors file = ModelTensors.Open(path);
        CheckHeads(file, config);
        return StateLoader.Load(model, config, file,
            name => name.StartsWith(AgentPrefix, StringComparison.Ordinal) || StateLoader.IsHead(name), replaceHead, whole: true);
    }

    /// <summary>The structure block of a file, or null where it has none; reads no tensor. Only safetensors files have one.
    /// </summary>
    /// <exception cref="EspalierException">The file is missing or damaged.</exception>
    public static ModelStructure? ReadStructure(string path)
    {
        using SafetensorsReader? file = CheckpointFile.OpenSafetensors(path);
        return file is null ? null : Structure(file.Metadata, path);
    }

    /// <summary>
    /// A named shape with the classes, channels and image size that the tensors of a checkpoint have, where they are there to
    /// be seen.
    /// </summary>
    public static VitConfig FitTo(string path, VitConfig shape)
    {
        using ModelTensors file = ModelTensors.Open(path);
        var shapes = file.Shapes;
        if (shapes.TryGetValue("head.weight", out int[]? head) && head.Length == 2) shape = shape with { NumClasses = head[0] };
        if (shape.Stem != VitStem.Patches) return shape.Checked(path);
        const string embeddings = "transformer.embeddings.";
        if (shapes.TryGetValue(embeddings + "patch_embeddings.weight", out int[]? patches) && patches.Length == 4)
            shape = shape with { Channels = patches[1] };
        if (shapes.TryGetValue(embeddings + "position_embeddings", out int[]? positions) && positions.Length == 3)
        {
            int grid = (int)Math.Sqrt(Math.Max(positions[1] - shape.PrefixTokens, 0));
            if (grid * grid == positions[1] - shape.PrefixTokens) shape = shape with { ImageSize = grid * shape.PatchSize };
        }
        return shape.Checked(path);
    }

    /// <summary>Writes a model with its structure block; the file appears whole or not at all.</summary>
    /// <exception cref="EspalierException">The structure is not that of the model, or the file cannot be written.</exception>
    public static void Save(string path, Module model, ModelStructure structure)
    {
        if (model is AptModel apt)
            structure = structure with { Config = structure.Config with { PruneLayers = [.. apt.Layers] } };
        string json = structure.Checked(path).ToJson();
        var arrays = model.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray()));
        Safetensors.Write(path, arrays, new Dictionary<string, string> { [ModelStructure.MetadataKey] = json });
    }

    private static ModelStructure? Structure(IReadOnlyDictionary<string, string> metadata, string source) =>
        metadata.TryGetValue(ModelStructure.MetadataKey, out string? json) ? ModelStructure.Parse(json, source) : null;

    /// <summary>
    /// The given shape, completed by the file's structure block, or the block itself, which must not ask for a larger model
    /// than the file fills: otherwise a few bytes could claim all memory.
    /// </summary>
    private static ModelStructure Choose(ModelTensors file, VitConfig? config)
    {
        ModelStructure? block = Structure(file.Metadata, file.Source);
        if (config is not null)
        {
            if (block is null) return new ModelStructure { Config = config, Preprocessing = PreprocessingDefaults.For(config) };
            config = config with { PruneLayers = config.PruneLayers ?? block.Config.PruneLayers };
            bool sameClasses = config.NumClasses == block.Config.NumClasses;
            return block with
            {
                Config = config, ClassNames = sameClasses ? block.ClassNames : null,
                Preprocessing = block.Preprocessing?.ForSize(config.ImageSize),
            };
        }
        if (block is null)
            throw new EspalierException($"{file.Source}: says nothing of the model's shape; give it with --config FILE.json or "
                + "--model-type NAME");
        long needed = VitCost.Parameters(block.Config), there = file.Count;
        if (needed > there)
            throw new EspalierException($"{file.Source}: its structure block describes a model of {needed} parameters, but the "
                + $"file holds {there}; it is damaged or cut short");
        return block;
    }

    /// <summary>No tensor's shape tells the number of heads, and with a wrong one the model would compute nonsense.</summary>
    private static void CheckHeads(ModelTensors file, VitConfig config)
    {
        if ((Structure(file.Metadata, file.Source)?.Config.NumHeads ?? file.Heads) is { } heads && heads != config.NumHeads)
            throw new EspalierException($"{file.Source}: is of a model with {heads} attention heads, not {config.NumHeads}; "
                + "correct numHeads in the configuration");
    }

    private static int CountAgents(ModelTensors file) =>
        file.Shapes.Keys.Where(k => k.StartsWith(AgentPrefix, StringComparison.Ordinal))
            .Select(k => k[AgentPrefix.Length..].Split('.')[0]).Distinct().Count();
}
