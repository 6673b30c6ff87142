using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Compression.Apt;
using Espalier.Formats;
using Espalier.Nn;

namespace Espalier.Models;

/// <summary>
/// What a checkpoint says of itself, in its metadata under <c>espalier</c>: enough to build the model with nothing else.
/// </summary>
public sealed record ModelStructure
{
    public int Format { get; init; } = 1;

    public string Architecture { get; init; } = "vit";

    public required VitConfig Config { get; init; }

    /// <summary>p(prune) above which a token is dropped; null for a model without agents.</summary>
    public float? Threshold { get; init; }

    /// <summary>Names of the classes, in the order of the logits.</summary>
    public string[]? ClassNames { get; init; }

    /// <summary>The data set that it was trained on.</summary>
    public string? Dataset { get; init; }
}

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
    private const string StructureKey = "espalier";
    private const string AgentPrefix = "transformer.encoder.clip_layer.";

    /// <summary>Reads a finished model: every tensor must be there.</summary>
    /// <param name="config">The shape, where the file has no structure block; it wins over one.</param>
    public static LoadedModel Load(string path, VitConfig? config = null)
    {
        Checkpoint file = CheckpointFile.Read(path);
        var arrays = PublishedNames.ToModelNames(file);
        ModelStructure structure = Structure(file) ?? new ModelStructure { Config = config ?? throw NoShape(path) };
        if (config is not null) structure = structure with { Config = config };
        var vit = new VisionTransformer(structure.Config);
        AptModel? apt = null;
        if (arrays.Keys.Any(k => k.StartsWith(AgentPrefix, StringComparison.Ordinal)))
            apt = new AptModel(vit, structure.Config.PruneLayers) { Threshold = structure.Threshold ?? 0.5f };
        Module module = apt is null ? vit : apt;
        LoadReport report = StateLoader.Load(module, structure.Config, arrays, path, _ => false, replaceHead: false);
        CheckAgents(path, arrays, apt);
        module.Training = false;
        return new LoadedModel(vit, apt, structure, report);
    }

    /// <summary>Reads what fits into an existing model, to train it further: head and agents may be new.</summary>
    public static LoadReport LoadInto(Module model, VitConfig config, string path, bool replaceHead = true)
    {
        Checkpoint file = CheckpointFile.Read(path);
        return StateLoader.Load(model, config, PublishedNames.ToModelNames(file), path,
            name => name.StartsWith(AgentPrefix, StringComparison.Ordinal) || name.StartsWith("head", StringComparison.Ordinal), replaceHead);
    }

    /// <summary>The structure block of a file, or null where it has none.</summary>
    public static ModelStructure? ReadStructure(string path) => Structure(CheckpointFile.Read(path));

    /// <summary>
    /// A named shape with the classes, channels and image size that the tensors of a checkpoint have, where they are there to
    /// be seen.
    /// </summary>
    public static VitConfig FitTo(string path, VitConfig shape)
    {
        var arrays = PublishedNames.ToModelNames(CheckpointFile.Read(path));
        if (arrays.TryGetValue("head.weight", out NamedArray? head) && head.Shape.Length == 2)
            shape = shape with { NumClasses = head.Shape[0] };
        if (shape.Stem != VitStem.Patches) return shape.Checked(path);
        if (arrays.TryGetValue("transformer.embeddings.patch_embeddings.weight", out NamedArray? patches) && patches.Shape.Length == 4)
            shape = shape with { Channels = patches.Shape[1] };
        if (arrays.TryGetValue("transformer.embeddings.position_embeddings", out NamedArray? positions) && positions.Shape.Length == 3)
        {
            int grid = (int)Math.Sqrt(Math.Max(positions.Shape[1] - shape.PrefixTokens, 0));
            if (grid * grid == positions.Shape[1] - shape.PrefixTokens) shape = shape with { ImageSize = grid * shape.PatchSize };
        }
        return shape.Checked(path);
    }

    /// <summary>Writes a model with its structure block; the file appears whole or not at all.</summary>
    public static void Save(string path, Module model, ModelStructure structure)
    {
        var arrays = model.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray()));
        Safetensors.Write(path, arrays, new Dictionary<string, string>
        {
            [StructureKey] = JsonSerializer.Serialize(structure, StructureJson.Default.ModelStructure),
        });
    }

    private static ModelStructure? Structure(Checkpoint file)
    {
        if (!file.Metadata.TryGetValue(StructureKey, out string? json)) return null;
        try
        {
            ModelStructure? s = JsonSerializer.Deserialize(json, StructureJson.Default.ModelStructure);
            if (s is not { Format: 1, Architecture: "vit" })
                throw new EspalierException($"{file.Source}: written by a newer version: format {s?.Format}, architecture {s?.Architecture}");
            if (s.Threshold is < 0 or > 1) throw new EspalierException($"{file.Source}: a threshold must be 0 to 1, not {s.Threshold}");
            s.Config.Checked(file.Source);
            return s;
        }
        catch (JsonException e)
        {
            throw new EspalierException($"{file.Source}: its structure block is damaged: {e.Message}", e);
        }
    }

    private static void CheckAgents(string path, IReadOnlyDictionary<string, NamedArray> arrays, AptModel? apt)
    {
        if (apt is null) return;
        int inFile = arrays.Keys.Where(k => k.StartsWith(AgentPrefix, StringComparison.Ordinal))
            .Select(k => k[AgentPrefix.Length..].Split('.')[0]).Distinct().Count();
        if (inFile != apt.Layers.Count)
            throw new EspalierException($"{path}: has {inFile} agents, but the configuration names {apt.Layers.Count} pruneLayers");
    }

    private static EspalierException NoShape(string path) => new(
        $"{path}: says nothing of the model's shape; give it with --config FILE.json or --model-type NAME");
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ModelStructure))]
internal sealed partial class StructureJson : JsonSerializerContext;
