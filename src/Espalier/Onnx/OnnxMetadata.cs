using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Espalier.Imaging;
using Espalier.Models;

namespace Espalier.Onnx;

/// <summary>
/// What a file says besides its graph: a block of this library's own under the one key <c>espalier</c>, and what whoever prepares
/// images must know, each under a name of its own.
/// </summary>
internal static class OnnxMetadata
{
    /// <summary>The names that this library writes itself.</summary>
    public static IReadOnlySet<string> Own { get; } =
        new HashSet<string>(StringComparer.Ordinal) { ModelStructure.MetadataKey, "input_size", "mean", "std", "class_names" };

    /// <summary>With the model's card as the block: <c>{"format":2,"card":{...}}</c>, as model files have it beside their
    /// graph.</summary>
    public static List<KeyValuePair<string, string>> Of(Model model)
    {
        using var buffer = new MemoryStream();
        var options = new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using (var json = new Utf8JsonWriter(buffer, options))
        {
            json.WriteStartObject();
            json.WriteNumber("format", Files.ModelFormat.Current);
            json.WritePropertyName("card");
            model.Card.Write(json);
            json.WriteEndObject();
        }
        List<KeyValuePair<string, string>> own = Of(Encoding.UTF8.GetString(buffer.ToArray()), model.ImageSize, model.Channels,
            model.Card.Preprocessing, model.Card.Classes);
        return [.. own, .. (model.Card.Metadata ?? new Dictionary<string, string>()).Where(m => !Own.Contains(m.Key))];
    }

    /// <param name="block">JSON.</param>
    public static List<KeyValuePair<string, string>> Of(string block, int imageSize, int channels, Preprocessing? preprocessing,
        IReadOnlyList<string>? classes)
    {
        List<KeyValuePair<string, string>> metadata = [new(ModelStructure.MetadataKey, block)];
        if (channels > 0)
        {
            metadata.Add(new("input_size", imageSize.ToString(CultureInfo.InvariantCulture)));
            metadata.Add(new("mean", EachChannel(preprocessing?.Mean)));
            metadata.Add(new("std", EachChannel(preprocessing?.Std)));
        }
        if (classes is not null)
            metadata.Add(new("class_names", JsonSerializer.Serialize([.. classes], StructureJson.Default.StringArray)));
        return metadata;

        // Of samples from 0 to 1, whatever the network's own scale is; 0.5 where nothing is said, as everywhere.
        string EachChannel(IReadOnlyList<float>? numbers)
        {
            double scale = (preprocessing?.Divisor ?? 255) / 255.0;
            return "[" + string.Join(',', Enumerable.Range(0, channels).Select(c =>
            {
                float x = numbers is null ? 0.5f : numbers.Count == 1 ? numbers[0] : numbers[c];
                return ((float)(x * scale)).ToString(CultureInfo.InvariantCulture);
            })) + "]";
        }
    }
}
