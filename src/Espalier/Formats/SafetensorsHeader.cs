using System.Text.Json;
using System.Text.Unicode;

namespace Espalier.Formats;

/// <summary>What a safetensors header says of one entry.</summary>
/// <param name="Name">The key.</param>
/// <param name="Type">How the elements are stored.</param>
/// <param name="Shape">Dimensions; empty for a scalar.</param>
/// <param name="Offset">First byte, counted from the end of the header.</param>
/// <param name="Length">Bytes.</param>
public sealed record SafetensorsInfo(string Name, ElementType Type, int[] Shape, long Offset, long Length)
{
    /// <summary>Number of elements.</summary>
    public int Count => (int)(Length / Type.Size());
}

/// <summary>
/// Parses the JSON header strictly, after the format's description (github.com/huggingface/safetensors): an object of
/// entries whose byte ranges cover the data without holes or overlaps, no key twice.
/// </summary>
internal static class SafetensorsHeader
{
    public const string MetadataKey = "__metadata__";
    public const int MaxNameLength = 4096;
    private const int MaxTextLength = 1 << 25;

    // Each costs some hundred bytes here, several times what it takes in the file.
    private const int MaxEntries = 1 << 16;

    /// <param name="json">The header's bytes.</param>
    /// <param name="dataLength">Bytes that follow it in the file.</param>
    /// <param name="metadata">Receives the strings of <c>__metadata__</c>.</param>
    public static OrderedDictionary<string, SafetensorsInfo> Parse(ReadOnlySpan<byte> json, long dataLength,
        Dictionary<string, string> metadata)
    {
        // Checked once, so that no later call meets text that it cannot decode.
        if (!Utf8.IsValid(json)) throw new InvalidDataException("the header is not UTF-8");
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 4 });
        var entries = new OrderedDictionary<string, SafetensorsInfo>();
        bool hasMetadata = false;
        Require(reader.Read() && reader.TokenType == JsonTokenType.StartObject, "the header is not a JSON object");
        while (NextKey(ref reader, out string name))
        {
            if (name == MetadataKey)
            {
                Require(!hasMetadata, "the header has __metadata__ twice");
                hasMetadata = true;
                ReadMetadata(ref reader, metadata);
                continue;
            }
            Require(name.Length is > 0 and <= MaxNameLength, $"the header has a name of {name.Length} characters");
            Require(entries.Count < MaxEntries, $"the header has more than {MaxEntries} entries, which are not read");
            if (!entries.TryAdd(name, ReadInfo(ref reader, name, dataLength))) throw Bad(name, "is in the header twice");
        }
        Require(!reader.Read(), "the header goes on after its JSON object");
        CheckLayout(entries.Values, dataLength);
        return entries;
    }

    private static SafetensorsInfo ReadInfo(ref Utf8JsonReader reader, string name, long dataLength)
    {
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) throw Bad(name, "is not an object");
        ElementType? type = null;
        List<long>? dims = null, offsets = null;
        while (NextKey(ref reader, out string key))
        {
            switch (key)
            {
                case "dtype" when type is null:
                    string text = ReadString(ref reader, name);
                    if (!ElementTypes.TryParseSafetensors(text, out ElementType parsed))
                        throw Bad(name, $"has the type {ReadGuard.Quote(text)}, which is not read");
                    type = parsed;
                    break;
                case "shape" when dims is null: dims = ReadNumbers(ref reader, name, ArrayShape.MaxRank); break;
                case "data_offsets" when offsets is null: offsets = ReadNumbers(ref reader, name, 2); break;
                default: throw Bad(name, $"has the key {ReadGuard.Quote(key)} twice, or it is not one of the format's");
            }
        }
        if (type is null || dims is null || offsets is not [long begin, long end])
            throw Bad(name, "needs dtype, shape and two data_offsets");
        if (begin < 0 || end < begin || end > dataLength)
            throw Bad(name, $"claims bytes {begin} to {end} of {dataLength}; the file is cut short or damaged");
        int[] shape = ArrayShape.Check(name, dims, out int count);
        if (end - begin != (long)count * type.Value.Size())
            throw Bad(name, $"has {end - begin} bytes for {count} elements of {type.Value.SafetensorsName()}");
        return new SafetensorsInfo(name, type.Value, shape, begin, end - begin);
    }

    private static void ReadMetadata(ref Utf8JsonReader reader, Dictionary<string, string> metadata)
    {
        Require(reader.Read() && reader.TokenType == JsonTokenType.StartObject, "__metadata__ is not an object");
        while (NextKey(ref reader, out string key))
        {
            Require(metadata.Count < MaxEntries, $"__metadata__ has more than {MaxEntries} texts, which are not read");
            if (!metadata.TryAdd(key, ReadString(ref reader, MetadataKey))) throw Bad(key, "is in __metadata__ twice");
        }
    }

    private static List<long> ReadNumbers(ref Utf8JsonReader reader, string name, int limit)
    {
        List<long> numbers = [];
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartArray)
            throw Bad(name, "has no list of numbers where one belongs");
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (numbers.Count == limit) throw Bad(name, $"has a list of more than {limit} numbers");
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out long number))
                throw Bad(name, "has a shape or an offset that is no whole number");
            numbers.Add(number);
        }
        return numbers;
    }

    private static bool NextKey(ref Utf8JsonReader reader, out string key)
    {
        key = "";
        if (!reader.Read() || reader.TokenType != JsonTokenType.PropertyName) return false;
        key = Text(ref reader);
        return true;
    }

    private static string ReadString(ref Utf8JsonReader reader, string name)
    {
        if (!reader.Read() || reader.TokenType != JsonTokenType.String)
            throw Bad(name, "has something else where a text belongs");
        return Text(ref reader);
    }

    private static string Text(ref Utf8JsonReader reader)
    {
        Require(reader.ValueSpan.Length <= MaxTextLength, $"the header has a text of {reader.ValueSpan.Length} bytes");
        try
        {
            return reader.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw new InvalidDataException("the header has a text with half a surrogate pair", e);    // "\ud800" in JSON
        }
    }

    /// <summary>Every byte of the data belongs to exactly one entry.</summary>
    private static void CheckLayout(IEnumerable<SafetensorsInfo> entries, long dataLength)
    {
        long expected = 0;
        foreach (SafetensorsInfo entry in entries.OrderBy(e => e.Offset).ThenBy(e => e.Length))
        {
            if (entry.Offset != expected)
                throw Bad(entry.Name, entry.Offset < expected ? "overlaps another entry" : "leaves a hole before it");
            expected += entry.Length;
        }
        Require(expected == dataLength, $"the file has {dataLength - expected} bytes after its last entry");
    }

    private static void Require(bool condition, string message)
    {
        if (!condition) throw new InvalidDataException(message);
    }

    private static InvalidDataException Bad(string name, string what) => new($"entry {ReadGuard.Quote(name)} {what}");
}
