using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Files;

/// <summary>
/// Format 2 of model files: safetensors whose metadata has, under the one key <c>espalier</c>,
/// <c>{"format":2,"card":{...},"graph":{...}}</c>; see <see cref="ModelCard"/> and <see cref="GraphFile"/>. Where tensors are
/// stored in few bits it is format 3 and has <c>"stored":{"name":{...}}</c> as well, see <see cref="StoredCodes"/>.
/// </summary>
internal static class ModelFormat
{
    public const int Current = 2, WithCodes = 3;

    private const int LongestText = 1 << 24;

    /// <summary>Writes a model; the file appears whole or not at all.</summary>
    /// <param name="keepFloats">Whether weights that are used in few bits are stored as they are, to be trained on.</param>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public static void Write(string path, Graph graph, ModelCard card, bool keepFloats = false)
    {
        OrderedDictionary<string, StoredCodes> stored = keepFloats ? [] : StoredCodes.Of(graph);
        using var buffer = new MemoryStream();
        var options = new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using (var json = new Utf8JsonWriter(buffer, options))
        {
            json.WriteStartObject();
            json.WriteNumber("format", stored.Count > 0 ? WithCodes : Current);
            json.WritePropertyName("card");
            card.Write(json);
            json.WritePropertyName("graph");
            GraphFile.Write(json, graph);
            if (stored.Count > 0)
            {
                json.WriteStartObject("stored");
                foreach (var (name, codes) in stored)
                {
                    json.WritePropertyName(name);
                    codes.Write(json);
                }
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        string text = Encoding.UTF8.GetString(buffer.GetBuffer().AsSpan(0, (int)buffer.Length));
        if (text.Length > LongestText)
            throw new EspalierException($"{path}: the network is too large to be written: {graph.Nodes.Count} nodes");
        var metadata = new Dictionary<string, string> { [ModelStructure.MetadataKey] = text };
        Safetensors.Write(path, graph.ReadWeights().Select(Entry), metadata);

        SafetensorsEntry Entry(GraphValue weight)
        {
            if (stored.TryGetValue(weight.Name, out StoredCodes? codes)) return codes.Entry(weight, graph);
            return (keepFloats ? null : StoredCodes.HalfBook(weight, graph)) ?? new(weight.Name, ElementType.F32,
                weight.Shape.ToArray(), stream => FloatBytes.Write(stream, weight.Tensor.Span));
        }
    }

    /// <summary>The format and kind of network that a file's metadata names; null where it has no block of ours.</summary>
    /// <exception cref="EspalierException">The block is damaged.</exception>
    public static (long Format, string? Architecture)? Kind(IReadOnlyDictionary<string, string> metadata, string source)
    {
        if (!metadata.TryGetValue(ModelStructure.MetadataKey, out string? text)) return null;
        using JsonDocument document = Parse(text, source);
        JsonElement json = document.RootElement;
        if (json.ValueKind != JsonValueKind.Object || !json.TryGetProperty("format", out JsonElement format)
            || format.ValueKind != JsonValueKind.Number || !format.TryGetInt64(out long number))
        {
            throw new EspalierException($"{source}: its block '{ModelStructure.MetadataKey}' is damaged: it names no format");
        }
        bool named = json.TryGetProperty("architecture", out JsonElement name) && name.ValueKind == JsonValueKind.String;
        return (number, named ? name.GetString() : null);
    }

    /// <summary>Makes the graph of a file of format 2, of shapes alone; reads no more of its tensors than lists of
    /// channels.</summary>
    /// <exception cref="EspalierException">It is damaged.</exception>
    public static (Graph Graph, ModelCard Card) Read(ModelTensors file)
    {
        using JsonDocument document = Parse(file.Metadata[ModelStructure.MetadataKey], file.Source);
        var (card, json) = Guarded(file.Source, () =>
        {
            StrictJson.Members members = new(document.RootElement, "its block", "format", "card", "graph", "stored?");
            return (ModelCard.Read(members["card"]), members["graph"]);
        });
        return (GraphFile.Read(json, file.Source, file.Shapes, file.Read), card);
    }

    /// <summary>The file with what its codes stand for.</summary>
    /// <exception cref="EspalierException">What it says of them is damaged.</exception>
    public static ModelTensors Decoded(ModelTensors file)
    {
        if (Kind(file.Metadata, file.Source) is not { Format: WithCodes }) return file;
        using JsonDocument document = Parse(file.Metadata[ModelStructure.MetadataKey], file.Source);
        return Guarded(file.Source, () =>
        {
            StrictJson.Members members = new(document.RootElement, "its block", "format", "card", "graph", "stored");
            var codes = new Dictionary<string, StoredCodes>(StringComparer.Ordinal);
            foreach (JsonProperty stored in StrictJson.Object(members["stored"], "its stored tensors"))
                codes.Add(stored.Name, StoredCodes.Parse(stored.Value, stored.Name, file.Shapes));
            return new DecodedTensors(file, codes);
        });
    }

    private static JsonDocument Parse(string text, string source) => Guarded(source, () => StrictJson.Parse(text, LongestText));

    private static T Guarded<T>(string source, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (InvalidDataException e)
        {
            throw new EspalierException($"{source}: its block '{ModelStructure.MetadataKey}' is damaged: {e.Message}", e);
        }
    }
}
