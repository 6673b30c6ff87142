namespace Espalier.Models;

/// <summary>What stands behind the first linear layer of an MLP.</summary>
public enum ClipActivation
{
    /// <summary>z · sigmoid(1.702 z): OpenAI's weights.</summary>
    QuickGelu,

    /// <summary>GELU by the error function: most weights that open_clip trained itself.</summary>
    Gelu,
}

/// <summary>
/// The sizes of CLIP's two towers (Radford et al., arXiv 2103.00020, tables 19 and 20).
/// </summary>
public sealed record ClipConfig
{
    /// <summary>Width of the features that both towers end with.</summary>
    public required int Embedding { get; init; }

    /// <summary>Pixels a side.</summary>
    public required int ImageSize { get; init; }

    /// <summary>Width of the image transformer, or of the first stage of the modified ResNet.</summary>
    public required int ImageWidth { get; init; }

    /// <summary>Blocks of the image transformer; of a modified ResNet those of its four stages.</summary>
    public required IReadOnlyList<int> ImageLayers { get; init; }

    /// <summary>Side of a patch in pixels; null of a modified ResNet.</summary>
    public int? PatchSize { get; init; }

    /// <summary>Most tokens of a text, its start and its end among them; 0 where there is no text tower.</summary>
    public int Context { get; init; } = 77;

    public int Vocabulary { get; init; } = 49408;

    public int TextWidth { get; init; }

    public int TextLayers { get; init; } = 12;

    public ClipActivation Activation { get; init; }

    public bool IsResNet => PatchSize is null;

    public int Grid => ImageSize / (PatchSize ?? 32);

    /// <summary>Of 64 columns each, but for three of open_clip's that have 16 wider ones.</summary>
    public int ImageHeads => IsResNet ? ImageWidth * 32 / 64 : ImageWidth is 1280 or 1408 or 1664 ? 16 : ImageWidth / 64;

    public int TextHeads => TextWidth / 64;

    /// <summary>In a few words, for people.</summary>
    public string Description
    {
        get
        {
            string act = Activation == ClipActivation.Gelu ? ", GELU" : "";
            return IsResNet ? $"CLIP's modified ResNet of {string.Join('-', ImageLayers)} blocks, width {ImageWidth}"
                : $"CLIP's vision transformer of {ImageLayers[0]} blocks of width {ImageWidth}, patches of {PatchSize}{act}";
        }
    }

    /// <summary>Throws where the numbers do not describe CLIP.</summary>
    /// <param name="source">The file, for the message.</param>
    public ClipConfig Checked(string source)
    {
        Require(Embedding is >= 1 and <= 1 << 14 && ImageSize is >= 1 and <= 4096,
            $"features of {Embedding}, images of {ImageSize}");
        Require(ImageWidth is >= 1 and <= 1 << 14 && ImageLayers.All(n => n is >= 1 and <= 512),
            "an image tower of no such size");
        Require(IsResNet ? ImageLayers.Count == 4 && ImageWidth % 2 == 0 && ImageSize % 32 == 0
            : ImageLayers.Count == 1 && PatchSize >= 1 && ImageSize % PatchSize == 0, "an image tower of no such form");
        Require(ImageHeads >= 1 && (IsResNet ? ImageWidth * 32 : ImageWidth) % ImageHeads == 0,
            $"an image tower of width {ImageWidth}, which is no multiple of 64");
        if (Context == 0) return this;
        Require(Context is >= 2 and <= 4096 && Vocabulary is >= 3 and <= 1 << 22, $"texts of {Context} of {Vocabulary} tokens");
        Require(TextWidth is >= 64 and <= 1 << 14 && TextWidth % 64 == 0 && TextLayers is >= 1 and <= 512,
            $"a text tower of width {TextWidth}, which is no multiple of 64, or of {TextLayers} blocks");
        return this;

        void Require(bool fits, string what)
        {
            if (!fits) throw new EspalierException($"{source}: its tensors are of {what}; that is no CLIP");
        }
    }
}
