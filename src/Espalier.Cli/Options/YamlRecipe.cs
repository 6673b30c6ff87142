using System.Text;
using System.Text.Json;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Espalier.Cli.Options;

/// <summary>A recipe in YAML, read as the JSON that says the same: names with texts, numbers or truths, and nothing that a recipe has
/// no use for (lists, anchors, tags, several documents), so that a short file stays a short recipe.</summary>
internal static class YamlRecipe
{
    public static bool Is(string path) => Path.GetExtension(path).ToLowerInvariant() is ".yaml" or ".yml";

    /// <exception cref="EspalierException">It is no such YAML.</exception>
    public static byte[] ToJson(byte[] text, string path)
    {
        try
        {
            using var json = new MemoryStream();
            using (var writer = new Utf8JsonWriter(json)) Copy(new Parser(new StreamReader(new MemoryStream(text), Encoding.UTF8)), writer);
            return json.ToArray();
        }
        catch (Exception e) when (e is YamlException or InvalidOperationException or ArgumentException)
        {
            string where = e is YamlException { Start.Line: > 0 } at ? FormattableString.Invariant($" in line {at.Start.Line}") : "";
            throw new EspalierException($"{path}: not a recipe{where}: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    private static void Copy(Parser parser, Utf8JsonWriter writer)
    {
        parser.Consume<StreamStart>();
        if (!parser.TryConsume<DocumentStart>(out _) || !parser.TryConsume<MappingStart>(out var all))
            throw Not(parser, "it is no list of names with values");
        Plain(all);
        writer.WriteStartObject();
        while (!parser.TryConsume<MappingEnd>(out _))
        {
            Scalar name = Next(parser, "a name"), value = Next(parser, "the value of a recipe's option");
            writer.WritePropertyName(name.Value);
            bool text = value.Style != ScalarStyle.Plain;
            if (text) writer.WriteStringValue(value.Value);
            else if (value.Value is "true" or "True" or "TRUE" or "false" or "False" or "FALSE")
                writer.WriteBooleanValue(value.Value[0] is 't' or 'T');
            else if (value.Value is "" or "~" or "null" or "Null" or "NULL") writer.WriteNullValue();
            else if (RecipeFile.Number().IsMatch(value.Value)) writer.WriteRawValue(value.Value);
            else writer.WriteStringValue(value.Value);
        }
        parser.Consume<DocumentEnd>();
        if (!parser.TryConsume<StreamEnd>(out _)) throw Not(parser, "it has several documents");
        writer.WriteEndObject();
    }

    private static Scalar Next(IParser parser, string what)
    {
        if (!parser.TryConsume<Scalar>(out var scalar)) throw Not(parser, $"{what} is a text, a number, true or false");
        Plain(scalar);
        return scalar;
    }

    private static void Plain(NodeEvent node)
    {
        if (!node.Anchor.IsEmpty || !node.Tag.IsEmpty) throw new YamlException(node.Start, node.End, "anchors and tags have no meaning in it");
    }

    private static YamlException Not(IParser parser, string why) => parser.Current is { } at ? new(at.Start, at.End, why) : new(why);
}
