using System.Text;
using System.Text.Json;
using Espalier.Formats;

namespace Espalier.Training;

/// <summary>One line of a history: the step, and the numbers under their names.</summary>
public sealed record HistoryPoint(long Step, IReadOnlyDictionary<string, double> Values);

/// <summary>Appends log points to a run's history and to its TensorBoard events.</summary>
public sealed class TrainingHistory : IDisposable
{
    /// <summary>Of the names of what an evaluation found.</summary>
    internal const string EvaluationPrefix = "eval/";

    private readonly FileStream lines;
    private readonly EventWriter events;

    /// <summary>
    /// Opens the files of a run, without points after step <paramref name="last"/>, which a resumed run makes again.
    /// </summary>
    /// <param name="evaluated">The last step of which the evaluation is known: later ones are made again, too.</param>
    internal TrainingHistory(RunFolder folder, long last, long evaluated)
    {
        Truncate(folder.History, last, evaluated);
        events = Continue(folder.Events, last, evaluated);
        try
        {
            lines = new FileStream(folder.History, FileMode.Append, FileAccess.Write, FileShare.Read);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            events.Dispose();
            throw new EspalierException($"{folder.History}: cannot be written ({e.Message.ReplaceLineEndings(" ")}).", e);
        }
    }

    /// <summary>The points of a history file, in order. A line that a crash cut short ends it; a missing file has none.</summary>
    public static IReadOnlyList<HistoryPoint> Read(string path)
    {
        var points = new List<HistoryPoint>();
        if (!File.Exists(path)) return points;
        foreach (string line in ReadLines(path))
        {
            if (Parse(line) is not { } point) break;
            points.Add(point);
        }
        return points;
    }

    internal void Write(long step, IEnumerable<KeyValuePair<string, double>> values)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteNumber("step", step);
            foreach (var (name, value) in values)
            {
                if (double.IsFinite(value)) json.WriteNumber(name, value);
                else json.WriteNull(name);
                events.AddScalar(name.Contains('/') ? name : $"train/{name}", (float)value, step);
            }
            json.WriteEndObject();
        }
        buffer.WriteByte((byte)'\n');
        Guarded(() =>
        {
            lines.Write(buffer.GetBuffer(), 0, (int)buffer.Length);
            lines.Flush();
        });
        events.Flush();
    }

    /// <summary>To the disk: before a state that says that these points are done.</summary>
    internal void Flush() => Guarded(() => lines.Flush(flushToDisk: true));

    public void Dispose()
    {
        lines.Dispose();
        events.Dispose();
    }

    private static bool IsKept(string name, long step, long last, long evaluated) =>
        step <= (name.StartsWith(EvaluationPrefix, StringComparison.Ordinal) ? evaluated : last);

    private static void Truncate(string path, long last, long evaluated)
    {
        if (!File.Exists(path)) return;
        string[] all = ReadLines(path);
        string[] kept = [.. all.TakeWhile(line => Parse(line) is not null).Where(line => Parse(line) is { } point
            && IsKept(point.Values.Keys.FirstOrDefault() ?? "", point.Step, last, evaluated))];
        if (kept.Length == all.Length) return;
        AtomicFile.Write(path, stream =>
        {
            foreach (string line in kept) stream.Write(Encoding.UTF8.GetBytes(line + "\n"));
        });
    }

    /// <summary>
    /// A new event file that begins with the earlier ones' points up to <paramref name="last"/>, which it replaces.
    /// </summary>
    private static EventWriter Continue(string folder, long last, long evaluated)
    {
        string[] earlier = Directory.Exists(folder) ? Directory.GetFiles(folder, "events.out.tfevents.*") : [];
        var points = earlier.SelectMany(path => EventReader.Read(path).Scalars).Where(p => IsKept(p.Tag, p.Step, last, evaluated))
            .DistinctBy(p => (p.Tag, p.Step)).OrderBy(p => p.WallTime).ToArray();
        var writer = new EventWriter(folder);
        foreach (ScalarEvent p in points) writer.AddScalar(p.Tag, p.Value, p.Step, p.WallTime);
        writer.FlushToDisk();
        foreach (string path in earlier) File.Delete(path);
        return writer;
    }

    private static string[] ReadLines(string path)
    {
        try
        {
            // A line without its end is one that a crash cut short, even where it parses.
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            using var reader = new StreamReader(stream);
            string[] parts = reader.ReadToEnd().Split('\n');
            return [.. parts.SkipLast(1), .. parts[^1].Length > 0 ? ["(cut short)"] : Array.Empty<string>()];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{path}: cannot be read ({e.Message.ReplaceLineEndings(" ")}).", e);
        }
    }

    private static HistoryPoint? Parse(string line)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(line);
            if (json.RootElement.ValueKind != JsonValueKind.Object) return null;
            var values = new Dictionary<string, double>();
            long? step = null;
            foreach (JsonProperty p in json.RootElement.EnumerateObject())
            {
                if (p.Name == "step") step = p.Value.GetInt64();
                else values[p.Name] = p.Value.ValueKind == JsonValueKind.Null ? double.NaN : p.Value.GetDouble();
            }
            return step is { } s ? new HistoryPoint(s, values) : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }

    private void Guarded(Action write)
    {
        try
        {
            write();
        }
        catch (IOException e)
        {
            throw new EspalierException(
                $"{lines.Name}: cannot be written ({e.Message.ReplaceLineEndings(" ")}); check the free space.", e);
        }
    }
}
