using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Espalier.Formats;

namespace Espalier.Models;

/// <summary>What stands in front of the patch projection.</summary>
public enum VitStem
{
    /// <summary>Nothing: patches of the image itself.</summary>
    Patches,

    /// <summary>The R50 hybrid of Google (SAME padding).</summary>
    ResNet50,

    /// <summary>The R50 hybrid as in the PyTorch port that APT was built on; only for reproducing its figures.</summary>
    ResNet50Torch,

    /// <summary>Three small convolutions with batch norm: see <see cref="ConvolutionStem"/>.</summary>
    Convolutions,
}

/// <summary>
/// The shape of a vision transformer: everything that must be known to build one. Sizes are in pixels, channels and counts.
/// In a file: <c>{"imageSize":28,"patchSize":4,"channels":1,"hiddenSize":64,...,"pruneLayers":[2,5,8]}</c>.
/// </summary>
public sealed record VitConfig
{
    // The generated JSON reader sets init-only properties that a file leaves out to 0, not to their initial values.
    private static readonly (string Name, int Value)[] Defaults =
        [("imageSize", 224), ("patchSize", 16), ("channels", 3), ("numClasses", 1000)];

    public int ImageSize { get; init; } = 224;

    /// <summary>Side of a patch in pixels of the image, or of the stem's map for a hybrid.</summary>
    public int PatchSize { get; init; } = 16;

    public int Channels { get; init; } = 3;

    public required int HiddenSize { get; init; }

    public required int MlpDim { get; init; }

    public required int NumHeads { get; init; }

    public required int NumLayers { get; init; }

    public int NumClasses { get; init; } = 1000;

    /// <summary>Blocks (0-based) after which an agent of APT may drop tokens; null where the file does not say.</summary>
    public int[]? PruneLayers { get; init; }

    public VitStem Stem { get; init; }

    /// <summary>DeiT's second head on a distillation token; the prediction is the mean of both heads.</summary>
    public bool Distilled { get; init; }

    /// <summary>The name in <see cref="VitPresets"/> that it was made from; null for any other, and never in a file.</summary>
    [JsonIgnore]
    public string? Preset { get; init; }

    /// <summary>Tokens along one side of the image.</summary>
    [JsonIgnore]
    public int Grid => ImageSize / TokenPixels;

    /// <summary>Pixels of the image that one of what the patches are cut from stands for, along each axis.</summary>
    [JsonIgnore]
    public int StemStride => Stem switch
    {
        VitStem.Patches => 1,
        VitStem.Convolutions => ConvolutionStem.Stride,
        _ => 16,
    };

    /// <summary>Pixels of the image, along each axis, that a token begins with.</summary>
    [JsonIgnore]
    internal int TokenPixels => StemStride * PatchSize;

    [JsonIgnore]
    public int PrefixTokens => Distilled ? 2 : 1;

    /// <summary>Tokens that enter block 0, the class token among them.</summary>
    [JsonIgnore]
    public int Tokens => Grid * Grid + PrefixTokens;

    /// <summary>In a few words, for people.</summary>
    [JsonIgnore]
    public string Description => Describe(Tokens);

    /// <summary>Channels of what the patches are cut from.</summary>
    [JsonIgnore]
    public int PatchChannels => Stem switch
    {
        VitStem.Patches => Channels,
        VitStem.Convolutions => HiddenSize,
        _ => 1024,
    };

    /// <summary>
    /// Layers of APT's agents where the configuration names none: 2, 5 and 8 of 12, and the same parts (1/4, 1/2, 3/4) of
    /// other depths.
    /// </summary>
    public int[] DefaultPruneLayers() => UsualPruneLayers(NumLayers);

    /// <summary>As <see cref="DefaultPruneLayers"/>, for any number of blocks.</summary>
    public static int[] UsualPruneLayers(int blocks) =>
        [.. new[] { blocks / 4 - 1, blocks / 2 - 1, blocks * 3 / 4 - 1 }.Where(l => l >= 0).Distinct()];

    /// <summary>Throws where the numbers do not describe a transformer.</summary>
    /// <param name="source">Where the configuration comes from, for the message.</param>
    public VitConfig Checked(string source)
    {
        Bound(nameof(ImageSize), ImageSize, 1, 16384);
        Bound(nameof(PatchSize), PatchSize, 1, ImageSize);
        Bound(nameof(Channels), Channels, 1, 1024);
        Bound(nameof(HiddenSize), HiddenSize, 1, 65536);
        Bound(nameof(MlpDim), MlpDim, 1, 1 << 20);
        Bound(nameof(NumHeads), NumHeads, 1, HiddenSize);
        Bound(nameof(NumLayers), NumLayers, 1, 1024);
        Bound(nameof(NumClasses), NumClasses, 1, 1 << 20);
        if (HiddenSize % NumHeads != 0) throw Wrong($"hiddenSize {HiddenSize} does not divide into {NumHeads} heads");
        if (!Enum.IsDefined(Stem)) throw Wrong($"there is no stem {Stem}");
        if (Grid < 1) throw Wrong($"an image of {ImageSize} pixels holds no patch");
        if (Stem == VitStem.Convolutions && HiddenSize % 4 != 0)
            throw Wrong($"hiddenSize {HiddenSize} is not a multiple of 4, as this stem wants it");
        if (Stem != VitStem.Patches && ImageSize % TokenPixels != 0)
            throw Wrong($"imageSize {ImageSize} is not a multiple of the stem's {StemStride} pixels times patchSize {PatchSize}");
        if (Stem == VitStem.Patches && ImageSize % PatchSize != 0)
            throw Wrong($"imageSize {ImageSize} is not a multiple of patchSize {PatchSize}");
        if (Tokens > 1 << 20) throw Wrong($"{Tokens} tokens are too many");
        for (int i = 0; i < (PruneLayers?.Length ?? 0); i++)
        {
            if (PruneLayers![i] < 0 || PruneLayers[i] >= NumLayers || (i > 0 && PruneLayers[i] <= PruneLayers[i - 1]))
                throw Wrong($"pruneLayers must rise from 0 to at most {NumLayers - 1}, not [{string.Join(",", PruneLayers)}]");
        }
        return this;

        void Bound(string name, int value, int low, int high)
        {
            if (value < low || value > high)
                throw Wrong($"{JsonNamingPolicy.CamelCase.ConvertName(name)} must be {low} to {high}, not {value}");
        }

        EspalierException Wrong(string what) => new($"{source}: {what}");
    }

    /// <summary>Reads a configuration file; see the class for its form.</summary>
    public static VitConfig Read(string path)
    {
        return Parse(SmallFile.ReadText(path, 1 << 20, "a model configuration"), path);
    }

    /// <summary>Reads the JSON form; the sizes that have a usual value may be left out.</summary>
    /// <exception cref="EspalierException">It is none, lacks a size, has an unknown name, or makes no sense.</exception>
    public static VitConfig Parse(string json, string source)
    {
        try
        {
            var strict = new JsonDocumentOptions { AllowDuplicateProperties = false };
            JsonObject given = JsonNode.Parse(json, null, strict) as JsonObject
                ?? throw new EspalierException($"{source}: a model configuration is a JSON object, {{ ... }}");
            foreach (var (name, value) in Defaults) given.TryAdd(name, value);
            return given.Deserialize(VitJson.Default.VitConfig)!.Checked(source);
        }
        catch (Exception e) when (SmallFile.IsWrongJson(e))
        {
            throw new EspalierException($"{source}: not a model configuration: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    public string ToJson() => JsonSerializer.Serialize(this, VitJson.Default.VitConfig);

    public bool Equals(VitConfig? other) => other is not null && ToJson() == other.ToJson();

    internal string Describe(int tokens) => $"{NumLayers} blocks of width {HiddenSize}, {tokens} tokens";

    public override int GetHashCode() => ToJson().GetHashCode(StringComparison.Ordinal);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(VitConfig))]
internal sealed partial class VitJson : JsonSerializerContext;
