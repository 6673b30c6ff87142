using System.Text.Json;
using Espalier.Models;

namespace Espalier.Cli.Running;

/// <summary>
/// Writes one line an image:
/// <c>{"index":0,"label":3,"prediction":3,"logits":[...],"tokens":[50,41,30,22]}</c>, each logit with as many digits as give
/// the same float back; without tokens where the network has none.
/// </summary>
internal sealed class JsonLines(Stream stream) : IDisposable
{
    private readonly MemoryStream line = new();

    public void Write(ImageResult image)
    {
        line.SetLength(0);
        using (var json = new Utf8JsonWriter(line))
        {
            json.WriteStartObject();
            json.WriteNumber("index", image.Index);
            json.WriteNumber("label", image.Label);
            json.WriteNumber("prediction", image.Prediction);
            json.WriteStartArray("logits");
            foreach (float logit in image.Logits) json.WriteNumberValue(logit);
            json.WriteEndArray();
            if (image.Tokens.Length > 0)
            {
                json.WriteStartArray("tokens");
                foreach (int count in image.Tokens) json.WriteNumberValue(count);
                json.WriteEndArray();
            }
            json.WriteEndObject();
        }
        line.WriteByte((byte)'\n');
        stream.Write(line.GetBuffer(), 0, (int)line.Length);
    }

    public void Dispose() => line.Dispose();
}
