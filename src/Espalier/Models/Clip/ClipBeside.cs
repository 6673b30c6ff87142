using System.Text.Json;
using Espalier.Imaging;

namespace Espalier.Models;

/// <summary>
/// What no tensor of CLIP's weights tells, of a <c>config.json</c> of Hugging Face or an <c>open_clip_config.json</c> beside the file:
/// the activation that they were trained with, and how pictures are prepared; where nobody says, as OpenAI's.
/// </summary>
internal sealed class ClipBeside
{
    private readonly string path;
    private readonly JsonElement? preparation;

    /// <exception cref="EspalierException">The file beside it says something that is not known.</exception>
    public ClipBeside(string path)
    {
        this.path = path;
        if (JsonBeside.Read(path, "open_clip_config.json") is { } open && Part(open, "model_cfg") is { } model)
        {
            Activation = model.TryGetProperty("quick_gelu", out JsonElement said) && said.ValueKind == JsonValueKind.True
                ? ClipActivation.QuickGelu : ClipActivation.Gelu;
            preparation = Part(open, "preprocess_cfg");
            return;
        }
        if (JsonBeside.Read(path, "config.json") is not { } config || Part(config, "vision_config") is not { } vision
            || !vision.TryGetProperty("hidden_act", out JsonElement act))
        {
            return;
        }
        Activation = act.ToString() switch
        {
            "quick_gelu" => ClipActivation.QuickGelu,
            "gelu" => ClipActivation.Gelu,
            var other => throw Wrong("config.json", "activation", other, "quick_gelu and gelu are"),
        };
    }

    public ClipActivation Activation { get; } = ClipActivation.QuickGelu;

    /// <summary>For inputs of <paramref name="size"/> pixels a side; open_clip's usual numbers are OpenAI's.</summary>
    /// <exception cref="EspalierException">A way or a number that is not known.</exception>
    public Preprocessing PreprocessingFor(int size)
    {
        Preprocessing usual = Preprocessing.Preset("clip", size);
        if (preparation is not { } said) return usual;
        Preprocessing way = Word(said, "resize_mode", "shortest") switch
        {
            "shortest" => usual,
            "squash" => usual with { Fit = ResizeFit.Square, Crop = null },
            var other => throw Wrong("open_clip_config.json", "resize_mode", other, "shortest and squash are"),
        };
        Interpolation filter = Word(said, "interpolation", "bicubic") switch
        {
            // Drawn at random in training only.
            "bicubic" or "random" => Interpolation.Bicubic,
            "bilinear" => Interpolation.Bilinear,
            var other => throw Wrong("open_clip_config.json", "interpolation", other, "bicubic and bilinear are"),
        };
        return way with { Filter = filter, Mean = Numbers(said, "mean", way.Mean), Std = Numbers(said, "std", way.Std) };
    }

    private static JsonElement? Part(JsonElement whole, string name) =>
        whole.TryGetProperty(name, out JsonElement part) && part.ValueKind == JsonValueKind.Object ? part : null;

    private static string Word(JsonElement said, string name, string usual) =>
        said.TryGetProperty(name, out JsonElement word) && word.ValueKind != JsonValueKind.Null ? word.ToString() : usual;

    /// <summary>A number for all channels, or one each.</summary>
    private IReadOnlyList<float> Numbers(JsonElement said, string name, IReadOnlyList<float> usual)
    {
        if (!said.TryGetProperty(name, out JsonElement given) || given.ValueKind == JsonValueKind.Null) return usual;
        JsonElement[] all = given.ValueKind == JsonValueKind.Array ? [.. given.EnumerateArray()] : [given];
        return all.Length is 1 or 3 && all.All(n => n.ValueKind == JsonValueKind.Number) ? [.. all.Select(n => n.GetSingle())]
            : throw Wrong("open_clip_config.json", name, given.ToString(), "a number, or three, are");
    }

    private EspalierException Wrong(string file, string what, string said, string known) =>
        new($"{path}: the {file} beside it says the {what} '{said}'; {known} read");
}
