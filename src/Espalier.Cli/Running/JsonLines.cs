using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Espalier.Evaluation;

namespace Espalier.Cli.Running;

/// <summary>
/// Writes one line an image:
/// <c>{"index":0,"file":"cat/1.png","label":3,"prediction":3,"logits":[...],"tokens":[50,41,30,22]}</c>, each logit with as many digits as give
/// the same float back; without tokens where the network has none.
/// </summary>
internal sealed class JsonLines(Stream stream) : IDisposable
{
    private static JsonWriterOptions Plain => new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly MemoryStream line = new();

    /// <param name="file">Of the picture; null where many are in one.</param>
    public void Write(ImageResult image, string? file = null)
    {
        line.SetLength(0);
        using (var json = new Utf8JsonWriter(line))
        {
            json.WriteStartObject();
            json.WriteNumber("index", image.Index);
            if (file is not null) json.WriteString("file", file);
            json.WriteNumber("label", image.Label);
            json.WriteNumber("prediction", image.Prediction);
            json.WriteStartArray("logits");
            foreach (float logit in image.Logits) json.WriteNumberValue(logit);
            json.WriteEndArray();
            WriteTokens(json, image.Tokens);
            json.WriteEndObject();
        }
        line.WriteByte((byte)'\n');
        stream.Write(line.GetBuffer(), 0, (int)line.Length);
    }

    /// <summary>An object as one line.</summary>
    public static void Write(Terminal terminal, Action<Utf8JsonWriter> members)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, Plain))
        {
            json.WriteStartObject();
            members(json);
            json.WriteEndObject();
        }
        terminal.JsonLine(Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length));
    }

    /// <summary>What `predict` says of one picture:
    /// <c>{"file":"boot.png","classes":[{"class":9,"name":"ankle boot","probability":0.98}],"tokens":[50,41,30,22]}</c>, the most
    /// probable class first.</summary>
    public static void Write(Terminal terminal, string file, Prediction prediction, int top) => Write(terminal, json =>
    {
        json.WriteString("file", file);
        json.WriteStartArray("classes");
        foreach (int c in prediction.Ranking.Take(top))
        {
            json.WriteStartObject();
            json.WriteNumber("class", c);
            json.WriteString("name", prediction.Name(c));
            json.WriteNumber("probability", prediction.Probabilities[c]);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        WriteTokens(json, prediction.Tokens);
    });

    private static void WriteTokens(Utf8JsonWriter json, int[] tokens)
    {
        if (tokens.Length == 0) return;
        json.WriteStartArray("tokens");
        foreach (int count in tokens) json.WriteNumberValue(count);
        json.WriteEndArray();
    }

    public void Dispose() => line.Dispose();
}
