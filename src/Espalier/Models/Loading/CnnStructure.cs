using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Formats;
using Espalier.Imaging;

namespace Espalier.Models;

/// <summary>What the file of a convolutional network says of it, in its metadata under <c>espalier</c>.</summary>
public sealed record CnnStructure
{
    internal const string KnownArchitecture = "cnn";

    public int Format { get; init; } = 1;

    public string Architecture { get; init; } = KnownArchitecture;

    /// <summary>The shape that it was built with and the blocks it lost; the tensors' own shapes tell which channels are left.</summary>
    public required CnnConfig Config { get; init; }

    /// <summary>Names of the classes, in the order of the logits.</summary>
    public string[]? ClassNames { get; init; }

    /// <summary>The data set that it was trained on.</summary>
    public string? Dataset { get; init; }

    /// <summary>How images become its input; null for the preset <c>half</c>.</summary>
    public Preprocessing? Preprocessing { get; init; }

    internal string ToJson() => JsonSerializer.Serialize(this, CnnJson.Default.CnnStructure);

    /// <summary>Reads a block of format 1.</summary>
    /// <exception cref="EspalierException">It is damaged.</exception>
    internal static CnnStructure Parse(string json, string source)
    {
        try
        {
            CnnStructure block = JsonSerializer.Deserialize(json, CnnJson.Default.CnnStructure)!;
            if (block.Config is null) throw new EspalierException($"{source}: its structure block has no config");
            block.Config.Checked(source);
            if (block.ClassNames is not null && Array.IndexOf(block.ClassNames, null) >= 0)
                throw new EspalierException($"{source}: classNames has a class without a name");
            if (block.ClassNames is not null && block.ClassNames.Length != block.Config.NumClasses)
                throw new EspalierException($"{source}: classNames has {block.ClassNames.Length} names for "
                    + $"{block.Config.NumClasses} classes");
            return block with
            {
                Preprocessing = PreprocessingDefaults.OfBlock(block.Preprocessing, block.Config.ImageSize, block.Config.Channels, source),
            };
        }
        catch (Exception e) when (SmallFile.IsWrongJson(e))
        {
            throw new EspalierException($"{source}: its structure block is damaged: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(CnnStructure))]
internal sealed partial class CnnJson : JsonSerializerContext;
