using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Espalier.Formats;

namespace Espalier.Reproduce;

/// <summary>Reads what an experiment keeps of its finished runs. A process that was killed, a full disk or an editor may have
/// damaged any of it: that is one line which names the file, whatever is in it.</summary>
internal static class RecordFile
{
    private const int Most = 1 << 24;

    /// <summary>A record in JSON; null where there is no such file.</summary>
    /// <exception cref="EspalierException">The file is damaged, or cannot be read.</exception>
    public static T? Read<T>(string path, JsonTypeInfo<T> type) where T : class
    {
        if (Text(path) is not { } text) return null;
        try
        {
            return JsonSerializer.Deserialize(text, type) ?? throw Damaged(path, "it is null");
        }
        catch (Exception e) when (SmallFile.IsWrongJson(e))
        {
            throw Damaged(path, e.Message);
        }
    }

    /// <summary>One whole number; null where there is no such file.</summary>
    /// <exception cref="EspalierException">The file is damaged, or cannot be read.</exception>
    public static long? Number(string path)
    {
        if (Text(path) is not { } text) return null;
        return long.TryParse(text.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number
            : throw Damaged(path, "it is no whole number");
    }

    /// <summary>Lines of as many numbers with commas between; none where there is no such file.</summary>
    /// <exception cref="EspalierException">The file is damaged, or cannot be read.</exception>
    public static IReadOnlyList<double[]> Rows(string path, int columns)
    {
        if (Text(path) is not { Length: > 0 } text) return [];
        if (text[^1] != '\n') throw Damaged(path, "its last line is cut off");
        return [.. text[..^1].Split('\n').Select((line, i) =>
            Row(line, columns) ?? throw Damaged(path, $"line {i + 1} is not of {columns} numbers"))];
    }

    public static EspalierException Damaged(string path, string why) =>
        new($"{path}: is damaged ({why.ReplaceLineEndings(" ")}); delete it, and what it was of is done again");

    private static string? Text(string path) => File.Exists(path) ? SmallFile.ReadText(path, Most, "a record of a run") : null;

    private static double[]? Row(string line, int columns)
    {
        string[] cells = line.Split(',');
        var row = new double[columns];
        if (cells.Length != columns) return null;
        for (int i = 0; i < columns; i++)
            if (!double.TryParse(cells[i], NumberStyles.Float, CultureInfo.InvariantCulture, out row[i]) || !double.IsFinite(row[i]))
                return null;
        return row;
    }
}
