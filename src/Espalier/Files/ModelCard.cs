using System.Text.Json;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier;

/// <summary>What a model's file says of it beside the network itself.</summary>
public sealed record ModelCard
{
    private const int MostLines = 1 << 16, MostClasses = 1 << 20, LongestLine = 4096, MostMetadata = 256;

    /// <summary>The name of the network that it was made from: "resnet50".</summary>
    public string? Architecture { get; init; }

    /// <summary>The network in a few words, for people.</summary>
    public string? Description { get; init; }

    /// <summary>Names of the classes, in the order of the logits; null where nothing is said.</summary>
    public IReadOnlyList<string>? Classes { get; init; }

    /// <summary>The data set that it was trained on.</summary>
    public string? Dataset { get; init; }

    /// <summary>How pictures become its input; null where nothing is said.</summary>
    public Preprocessing? Preprocessing { get; init; }

    /// <summary>How its position embeddings are stretched to another image size; null for Google's way.</summary>
    public PositionResizeKind? Positions { get; init; }

    /// <summary>Whether its outputs are features, and no logits of classes.</summary>
    public bool Features { get; init; }

    /// <summary>Of one of two towers whose features are compared: what cosines are multiplied by to be logits; null of any other
    /// network.</summary>
    public float? LogitScale { get; init; }

    /// <summary>What a file of ONNX that it was read from calls its outputs; null where it was not.</summary>
    public IReadOnlyList<string>? Outputs { get; init; }

    /// <summary>What a file of ONNX that it was read from says of itself in words of its own, such as its author and licence; written into
    /// such files again. Null where it was read from none, or nothing is said.</summary>
    public IReadOnlyDictionary<string, string>? Metadata { get; init; }

    /// <summary>What was done to it since, a line each: "trained for 10 epochs", "l1: 41 % of the multiply-adds left".</summary>
    public IReadOnlyList<string> History
    {
        get => field ?? [];
        init;
    }

    /// <summary>The same with a line more in its history.</summary>
    public ModelCard With(string done) => this with { History = [.. History, done] };

    /// <summary>Throws where a part makes no sense or is not for the graph.</summary>
    /// <param name="source">The file, for the message.</param>
    /// <exception cref="EspalierException">One line that names the part.</exception>
    internal ModelCard Checked(string source, Graph graph)
    {
        int classes = graph.Outputs[0].Shape.Rank > 1 ? graph.Outputs[0].Shape[1] : 0;
        Require(Short(Architecture) && Short(Description) && Short(Dataset), "has a text of more than one line");
        Require(History.Count <= MostLines && History.All(Short), "has a line of history that is none");
        bool named = Classes is null || (Classes.Count <= MostClasses && Classes.All(c => c is not null && Short(c)));
        Require(named, "has a class without a name");
        Require(Outputs is null || Outputs.All(Short), "has an output without a name");
        Require(Metadata is null || (Metadata.Count <= MostMetadata && Metadata.All(m => IsMetadata(m.Key, m.Value))), "has metadata that is none");
        Require(LogitScale is null or (> 0 and <= 1e6f), "has a scale of logits that is none");
        bool images = graph.Inputs[0].Shape.Rank == 4;
        Require(images || Preprocessing is null, "says how pictures are prepared, and it is of no pictures");
        if (images) Preprocessing?.Checked(source).RequireFor(graph.Inputs[0].Shape[2], graph.Inputs[0].Shape[1], source);
        Require(Classes is null || Classes.Count == classes, $"has {Classes?.Count} names for {classes} classes");
        return this;

        static bool Short(string? text) => text is null || (text.Length <= LongestLine && !text.Any(c => c is '\n' or '\r'));

        void Require(bool condition, string message)
        {
            if (!condition) throw new EspalierException($"{source}: its card {message}");
        }
    }

    /// <summary>What of a file's own words is kept, sorted: short ones, and not too many.</summary>
    internal static IReadOnlyDictionary<string, string>? Kept(IEnumerable<KeyValuePair<string, string>> words)
    {
        var kept = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, value) in words.Where(w => IsMetadata(w.Key, w.Value)).Take(MostMetadata)) kept[name] = value;
        return kept.Count == 0 ? null : kept;
    }

    private static bool IsMetadata(string name, string? value) => name.Length is > 0 and <= LongestLine && value is { Length: <= LongestLine };

    /// <summary>By hand, as <see cref="PreprocessingConverter"/> is, and for the same reason; what is null is left out.</summary>
    internal void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        Text("architecture", Architecture);
        Text("description", Description);
        List("classes", Classes);
        Text("dataset", Dataset);
        if (Preprocessing is { } p)
        {
            json.WritePropertyName("preprocessing");
            PreprocessingConverter.Write(json, p);
        }
        if (Positions is { } positions) json.WriteString("positions", StrictJson.Word(positions));
        if (Features) json.WriteBoolean("features", true);
        if (LogitScale is { } scale) json.WriteNumber("logitScale", scale);
        List("outputs", Outputs);
        if (Metadata is not null)
        {
            json.WriteStartObject("metadata");
            foreach (var (name, value) in Metadata) json.WriteString(name, value);
            json.WriteEndObject();
        }
        List("history", History);
        json.WriteEndObject();

        void Text(string name, string? text)
        {
            if (text is not null) json.WriteString(name, text);
        }

        void List(string name, IReadOnlyList<string>? lines)
        {
            if (lines is null) return;
            json.WriteStartArray(name);
            foreach (string line in lines) json.WriteStringValue(line);
            json.WriteEndArray();
        }
    }

    /// <exception cref="InvalidDataException">It is none.</exception>
    internal static ModelCard Read(JsonElement json)
    {
        if (json.ValueKind == JsonValueKind.Null) throw new InvalidDataException("its card is null");
        try
        {
            StrictJson.Members members = new(json, "it", "architecture?", "description?", "classes?", "dataset?", "preprocessing?", "positions?",
                "features?", "logitScale?", "outputs?", "metadata?", "history?");
            string? Text(string name) => members.Given(name) is { } text ? StrictJson.Text(text, name, int.MaxValue) : null;
            // A name that is null is found by the check that follows, which says so.
            string[]? List(string name) => members.Given(name) is null ? null : [.. members.List(name, MostClasses)
                .Select(line => line.ValueKind == JsonValueKind.Null ? null! : StrictJson.Text(line, name, int.MaxValue))];
            return new ModelCard
            {
                Architecture = Text("architecture"), Description = Text("description"), Classes = List("classes"), Dataset = Text("dataset"),
                Preprocessing = members.Given("preprocessing") is { } p ? PreprocessingConverter.Read(p) with { Origin = "as the checkpoint says" }
                    : null,
                Positions = members.Given("positions") is { } way ? StrictJson.Word<PositionResizeKind>(way, "positions") : null,
                Features = members.Given("features") is { } f && StrictJson.Flag(f, "features"),
                LogitScale = members.Given("logitScale") is { } scale ? StrictJson.Float(scale, "logitScale") : null,
                Outputs = List("outputs"),
                Metadata = members.Given("metadata") is { } more ? new SortedDictionary<string, string>(StrictJson.Object(more, "metadata")
                    .ToDictionary(m => m.Name, m => StrictJson.Text(m.Value, "metadata", int.MaxValue)), StringComparer.Ordinal) : null,
                History = List("history") ?? [],
            };
        }
        catch (InvalidDataException e)
        {
            throw new InvalidDataException($"its card is damaged ({e.Message})", e);
        }
    }
}
