using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Formats;
using Espalier.Imaging;

namespace Espalier.Models;

/// <summary>
/// What a checkpoint says of itself, in its metadata under <c>espalier</c>: enough to build the model with nothing else.
/// </summary>
public sealed record ModelStructure
{
    internal const string MetadataKey = "espalier";

    private const int KnownFormat = 1;
    private const string KnownArchitecture = "vit";

    public int Format { get; init; } = KnownFormat;

    public string Architecture { get; init; } = KnownArchitecture;

    public required VitConfig Config { get; init; }

    /// <summary>p(prune) above which a token is dropped; null for a model without agents.</summary>
    public float? Threshold { get; init; }

    /// <summary>Names of the classes, in the order of the logits.</summary>
    public string[]? ClassNames { get; init; }

    /// <summary>The data set that it was trained on.</summary>
    public string? Dataset { get; init; }

    /// <summary>How images become its input; null for the preset <c>half</c>.</summary>
    public Preprocessing? Preprocessing { get; init; }

    /// <summary>Throws where the parts do not fit together.</summary>
    /// <param name="source">The file, for the message.</param>
    /// <exception cref="EspalierException">One line that names the part.</exception>
    public ModelStructure Checked(string source)
    {
        if (Config is null) throw new EspalierException($"{source}: its structure block has no config");
        Config.Checked(source);
        if (Threshold is { } t && !(t >= 0 && t <= 1))
            throw new EspalierException($"{source}: a threshold must be 0 to 1, not {t}");
        if (ClassNames is not null && (ClassNames.Length != Config.NumClasses || Array.IndexOf(ClassNames, null) >= 0))
            throw new EspalierException($"{source}: classNames has {ClassNames.Length} names for {Config.NumClasses} classes");
        Preprocessing?.Checked(source).RequireFor(Config.ImageSize, Config.Channels, source);
        return this;
    }

    internal string ToJson() => JsonSerializer.Serialize(this, StructureJson.Default.ModelStructure);

    internal static ModelStructure Parse(string json, string source)
    {
        try
        {
            // The version first: a newer format may lack what this one requires.
            Version version = JsonSerializer.Deserialize(json, StructureJson.Default.Version) ?? new Version(0, null);
            if (version is not { Format: KnownFormat, Architecture: KnownArchitecture })
                throw new EspalierException($"{source}: its structure block has format {version.Format} and architecture "
                    + $"'{version.Architecture}', not {KnownFormat} and '{KnownArchitecture}'; use the version that wrote it");
            ModelStructure s = JsonSerializer.Deserialize(json, StructureJson.Default.ModelStructure)!.Checked(source);
            return s with
            {
                Preprocessing = PreprocessingDefaults.OfBlock(s.Preprocessing, s.Config.ImageSize, s.Config.Channels, source),
            };
        }
        catch (Exception e) when (SmallFile.IsWrongJson(e))
        {
            throw new EspalierException($"{source}: its structure block is damaged: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    internal sealed record Version(int Format, string? Architecture);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ModelStructure))]
[JsonSerializable(typeof(ModelStructure.Version))]
[JsonSerializable(typeof(string[]))]
internal sealed partial class StructureJson : JsonSerializerContext;
