using System.Buffers.Binary;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Espalier.Formats;

/// <summary>Files of named tensors with a JSON header and nothing that could run (github.com/huggingface/safetensors).</summary>
public static class Safetensors
{
    private const int Alignment = 8;

    /// <summary>Reads every entry as floats.</summary>
    /// <exception cref="EspalierException">The file is missing or damaged, or an entry has a type that is not read.</exception>
    public static Checkpoint Read(string path) => ReadGuard.Open(path, stream =>
    {
        using var reader = new SafetensorsReader(stream, path, leaveOpen: true);
        return reader.ToCheckpoint();
    });

    /// <summary>Writes float32 arrays, replacing the file atomically.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public static void Write(string path, IEnumerable<NamedArray> arrays, IReadOnlyDictionary<string, string>? metadata = null) =>
        Write(path, arrays.Select(a => SafetensorsEntry.FromFloats(a.Name, a.Shape, a.Data)), metadata);

    /// <summary>
    /// Writes entries of any type, replacing the file atomically. Wider types come first so that every entry is aligned;
    /// otherwise the order is kept. Equal content gives equal bytes.
    /// </summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public static void Write(string path, IEnumerable<SafetensorsEntry> entries,
        IReadOnlyDictionary<string, string>? metadata = null)
    {
        SafetensorsEntry[] sorted = [.. entries.OrderByDescending(e => e.Type.Size())];
        byte[] header = Header(sorted, metadata);
        AtomicFile.Write(path, stream =>
        {
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach (SafetensorsEntry entry in sorted) entry.WriteTo(stream);
        });
    }

    /// <summary>The JSON, filled up with blanks so that the data starts aligned.</summary>
    private static byte[] Header(SafetensorsEntry[] entries, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        var options = new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using (var json = new Utf8JsonWriter(buffer, options))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject(SafetensorsHeader.MetadataKey);
                foreach ((string key, string value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
                    json.WriteString(key, value);
                json.WriteEndObject();
            }
            var names = new HashSet<string>();
            long offset = 0;
            foreach (SafetensorsEntry entry in entries)
            {
                if (!names.Add(entry.Name)) throw new ArgumentException($"two entries are named '{entry.Name}'", nameof(entries));
                json.WriteStartObject(entry.Name);
                json.WriteString("dtype", entry.Type.SafetensorsName());
                json.WriteStartArray("shape");
                foreach (int dim in entry.Shape) json.WriteNumberValue(dim);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += entry.Length);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        while (buffer.Length % Alignment != 0) buffer.WriteByte((byte)' ');
        return buffer.ToArray();
    }
}
