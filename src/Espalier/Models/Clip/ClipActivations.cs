using System.Text.Json;

namespace Espalier.Models;

/// <summary>
/// Which activation CLIP's weights were trained with, which no tensor tells: what a <c>config.json</c> of Hugging Face or an
/// <c>open_clip_config.json</c> beside the file says; else OpenAI's.
/// </summary>
internal static class ClipActivations
{
    /// <exception cref="EspalierException">The file beside it says another one than those that are known.</exception>
    public static ClipActivation Beside(string path)
    {
        if (JsonBeside.Read(path, "open_clip_config.json") is { } open && open.TryGetProperty("model_cfg",
            out JsonElement model))
        {
            bool quick = model.ValueKind == JsonValueKind.Object && model.TryGetProperty("quick_gelu", out JsonElement said)
                && said.ValueKind == JsonValueKind.True;
            return quick ? ClipActivation.QuickGelu : ClipActivation.Gelu;
        }
        if (JsonBeside.Read(path, "config.json") is not { } config || !config.TryGetProperty("vision_config", out JsonElement vision)
            || vision.ValueKind != JsonValueKind.Object || !vision.TryGetProperty("hidden_act", out JsonElement act))
        {
            return ClipActivation.QuickGelu;
        }
        return act.ToString() switch
        {
            "quick_gelu" => ClipActivation.QuickGelu,
            "gelu" => ClipActivation.Gelu,
            var other => throw new EspalierException($"{path}: the config.json beside it says the activation '{other}'; quick_gelu and gelu are read"),
        };
    }
}
