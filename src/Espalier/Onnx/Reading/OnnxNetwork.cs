using System.Text.Json;
using Espalier.Formats;
using Espalier.Formats.Onnx;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>A file of ONNX as a model: the graph and a card.</summary>
internal static class OnnxNetwork
{
    private const int LongestCard = 1 << 24, LongestName = 80;

    /// <summary>Whether a path names a file of ONNX: by its end, as the format has no beginning of its own.</summary>
    public static bool Is(string path) => path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase);

    /// <exception cref="EspalierException">The file is missing, damaged or has something that is not read; or the options say
    /// what is the file's to say.</exception>
    public static (Graph Graph, ModelCard Card) Read(string path, OpenOptions options)
    {
        if (options.Architecture is not null || options.Config is not null)
            throw new EspalierException($"{path}: says itself which network it is of; leave Architecture and Config out");
        var (graph, source, _) = OnnxImport.Read(path, new OnnxReadOptions { ImageSize = options.ImageSize });
        ModelCard card = Card(source, path) with
        {
            Outputs = [.. source.Outputs.Select(o => o.Name)],
            Metadata = ModelCard.Kept(source.Metadata.Where(m => !OnnxMetadata.Own.Contains(m.Key))),
        };
        try
        {
            Check(graph, path);
            return (graph, card.Checked(path, graph));
        }
        catch
        {
            foreach (GraphValue weight in graph.Weights.Values) weight.Tensor.Dispose();
            throw;
        }
    }

    /// <summary>What a card says that can be the name of a graph; null where it says nothing so short.</summary>
    public static string? GraphName(ModelCard card) => card.Description is { Length: > 0 and < LongestName } name ? name : null;

    /// <summary>What this library wrote into the file's metadata, or what else it says of itself.</summary>
    private static ModelCard Card(OnnxSource source, string path)
    {
        ModelCard none = new() { Description = source.GraphName.Length is > 0 and < LongestName ? source.GraphName : null };
        if (!source.Metadata.TryGetValue(ModelStructure.MetadataKey, out string? text)) return none;
        try
        {
            using JsonDocument document = StrictJson.Parse(text, LongestCard);
            return document.RootElement.TryGetProperty("card", out JsonElement card) ? ModelCard.Read(card) : none;
        }
        catch (Exception e) when (e is InvalidDataException or InvalidOperationException)
        {
            throw new EspalierException($"{path}: its block '{ModelStructure.MetadataKey}' is damaged: {e.Message}", e);
        }
    }

    private static void Check(Graph graph, string path)
    {
        if (graph.Inputs is not [{ Shape.Rank: 4 } images] || graph.Outputs.Any(o => o.Shape.Rank < 2))
            throw new EspalierException($"{path}: is no network from images to classes or maps, but from "
                + $"{string.Join(", ", graph.Inputs)} to {string.Join(", ", graph.Outputs)}");
        if (images.Shape[2] != images.Shape[3])
            throw new EspalierException(
                $"{path}: is for images {images.Shape[2]} high and {images.Shape[3]} wide; square ones are read");
    }
}
