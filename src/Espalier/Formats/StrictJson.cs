using System.Text.Json;

namespace Espalier.Formats;

/// <summary>Reads JSON of which every property must be known and of its kind; what is not throws an
/// InvalidDataException.</summary>
internal static class StrictJson
{
    private const int DeepestLevel = 16;

    /// <param name="longest">Characters.</param>
    /// <exception cref="InvalidDataException">It is too long, or no JSON.</exception>
    public static JsonDocument Parse(string text, int longest)
    {
        if (text.Length > longest) throw new InvalidDataException($"is of {text.Length} characters; at most {longest} are read");
        try
        {
            var strict = new JsonDocumentOptions { MaxDepth = DeepestLevel, AllowDuplicateProperties = false };
            return JsonDocument.Parse(text, strict);
        }
        // The latter is of half a surrogate pair.
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            throw new InvalidDataException($"is no valid JSON ({e.Message.ReplaceLineEndings(" ")})", e);
        }
    }

    public static JsonElement.ObjectEnumerator Object(JsonElement json, string what) => json.ValueKind == JsonValueKind.Object
        ? json.EnumerateObject() : throw new InvalidDataException($"{what} are no object, {{ ... }}");

    public static List<JsonElement> List(JsonElement json, string what, int most)
    {
        if (json.ValueKind != JsonValueKind.Array) throw new InvalidDataException($"{what} is no list, [ ... ]");
        if (json.GetArrayLength() > most)
            throw new InvalidDataException($"{what} is a list of {json.GetArrayLength()}; at most {most} are read");
        return [.. json.EnumerateArray()];
    }

    public static string Text(JsonElement json, string what, int longest)
    {
        if (json.ValueKind != JsonValueKind.String) throw new InvalidDataException($"{what} is no text");
        try
        {
            string text = json.GetString()!;
            return text.Length <= longest ? text
                : throw new InvalidDataException($"{what} has {text.Length} characters; at most {longest} are read");
        }
        catch (InvalidOperationException e)
        {
            throw new InvalidDataException($"{what} has half a surrogate pair", e);
        }
    }

    public static long Long(JsonElement json, string what) =>
        json.ValueKind == JsonValueKind.Number && json.TryGetInt64(out long number) ? number
            : throw new InvalidDataException($"{what} is no whole number");

    public static int Int(JsonElement json, string what) =>
        json.ValueKind == JsonValueKind.Number && json.TryGetInt32(out int number) ? number
            : throw new InvalidDataException($"{what} is no whole number");

    public static bool Flag(JsonElement json, string what) => json.ValueKind is JsonValueKind.True or JsonValueKind.False
        ? json.GetBoolean() : throw new InvalidDataException($"{what} is neither true nor false");

    /// <summary>Infinite where it is too large.</summary>
    public static float Float(JsonElement json, string what) =>
        json.ValueKind == JsonValueKind.Number && json.TryGetSingle(out float number) ? number : throw new InvalidDataException($"{what} is no number");

    /// <summary>One of the names of an enumeration, in camel case.</summary>
    public static T Word<T>(JsonElement json, string what) where T : struct, Enum
    {
        string? said = json.ValueKind == JsonValueKind.String ? json.GetString() : null;
        foreach (T value in Enum.GetValues<T>()) if (said == Word(value)) return value;
        throw new InvalidDataException($"{what}: one of {string.Join(", ", Enum.GetValues<T>().Select(Word))} is wanted");
    }

    /// <summary>What <see cref="Word{T}(JsonElement, string)"/> reads.</summary>
    public static string Word<T>(T value) where T : struct, Enum => JsonNamingPolicy.CamelCase.ConvertName(value.ToString());

    /// <summary>The properties of an object: all of those named, and no others.</summary>
    public readonly struct Members
    {
        private readonly Dictionary<string, JsonElement> members = [];
        private readonly string what;

        /// <param name="names">One that ends with a question mark may be missing.</param>
        public Members(JsonElement json, string what, params ReadOnlySpan<string> names)
        {
            this.what = what;
            if (json.ValueKind != JsonValueKind.Object) throw new InvalidDataException($"{what} is no object, {{ ... }}");
            int known = 0;
            foreach (string name in names)
            {
                bool optional = name[^1] == '?';
                string plain = optional ? name[..^1] : name;
                if (json.TryGetProperty(plain, out JsonElement value)) members.Add(plain, value);
                else if (!optional) throw new InvalidDataException($"{what} has no '{plain}'");
                known += members.ContainsKey(plain) ? 1 : 0;
            }
            if (json.GetPropertyCount() == known) return;
            foreach (JsonProperty property in json.EnumerateObject())
                if (!members.ContainsKey(property.Name))
                    throw new InvalidDataException($"{what} has the unknown {ReadGuard.Quote(property.Name)}");
        }

        public JsonElement this[string name] => members[name];

        /// <summary>One that may be missing, or null.</summary>
        public JsonElement? Given(string name) =>
            members.TryGetValue(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

        public bool Has(string name) => members.ContainsKey(name);

        public List<JsonElement> List(string name, int most) => StrictJson.List(members[name], $"'{name}' of {what}", most);
    }
}
