using System.Text.Json;
using Espalier.Formats;

namespace Espalier.Models;

/// <summary>A small JSON file in the folder of a model's.</summary>
internal static class JsonBeside
{
    private const long LargestFile = 1 << 20;

    /// <summary>Its object; null where there is no such file, or it is none.</summary>
    /// <exception cref="EspalierException">It cannot be read.</exception>
    public static JsonElement? Read(string path, string name)
    {
        string file = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path)) ?? ".", name);
        if (!File.Exists(file) || new FileInfo(file).Length > LargestFile) return null;
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(file));
            return document.RootElement.ValueKind == JsonValueKind.Object ? document.RootElement.Clone() : null;
        }
        catch (Exception e) when (SmallFile.IsWrongJson(e) || e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{file}: cannot be read as JSON: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }
}
