using System.Text;
using System.Text.Json;

namespace Espalier.Formats;

/// <summary>
/// Reads configurations and other small files whole, from pipes too: never more than a limit, since a path may lead to a device that
/// does not end.
/// </summary>
internal static class SmallFile
{
    private const int Part = 1 << 16;

    /// <param name="most">Bytes.</param>
    /// <param name="what">What it should be, for messages: "a plan".</param>
    /// <exception cref="EspalierException">There is no such file, it cannot be read, or it is longer.</exception>
    public static byte[] Read(string path, int most, string what)
    {
        if (!File.Exists(path)) throw new EspalierException($"{path}: no such file ({what})");
        try
        {
            using FileStream file = File.OpenRead(path);
            using var all = new MemoryStream();
            byte[] part = new byte[Math.Min(Part, most + 1)];
            for (int count; (count = file.Read(part)) > 0;)
            {
                all.Write(part, 0, count);
                if (all.Length > most) throw new EspalierException($"{path}: is longer than {what}, of which {most} bytes are read");
            }
            return all.ToArray();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{path}: could not be read ({e.Message.ReplaceLineEndings(" ")})", e);
        }
    }

    /// <inheritdoc cref="Read"/>
    public static string ReadText(string path, int most, string what)
    {
        using var reader = new StreamReader(new MemoryStream(Read(path, most, what)), Encoding.UTF8);
        return reader.ReadToEnd();
    }

    /// <summary>Whether an exception of .NET's JSON readers says that the text is wrong: half of a surrogate pair is not a
    /// JsonException there.</summary>
    public static bool IsWrongJson(Exception e) => e is JsonException or InvalidOperationException or ArgumentException;
}
