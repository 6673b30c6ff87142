using System.Text.Json;

namespace Espalier.Formats;

/// <summary>
/// The border between the readers and their callers. Inside, a reader that meets a bad file throws
/// <see cref="InvalidDataException"/> with what is wrong; here the file's name is put in front and it becomes the one line
/// that the user sees.
/// </summary>
internal static class ReadGuard
{
    public static T Run<T>(string source, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is InvalidDataException or JsonException or IOException or UnauthorizedAccessException)
        {
            throw Described(source, e);
        }
    }

    /// <summary>What the user sees of an exception that reading throws.</summary>
    public static EspalierException Described(string source, Exception e) => new(e switch
    {
        InvalidDataException => $"{source}: {e.Message}",
        JsonException => $"{source}: the header is not valid JSON ({OneLine(e.Message, 200)})",
        EndOfStreamException => $"{source}: the file is truncated; fetch or copy it again",
        _ => $"{source}: could not be read ({OneLine(e.Message, 300)})",
    }, e);

    /// <summary>Opens <paramref name="path"/> for random reading and runs <paramref name="read"/> on it.</summary>
    public static T Open<T>(string path, Func<Stream, T> read)
    {
        if (Directory.Exists(path)) throw new EspalierException($"{path}: is a folder, not a file; name the file in it");
        if (!File.Exists(path)) throw new EspalierException($"{path}: no such file; check the path");
        if (FileSystem.IsSpecialFile(path)) throw new EspalierException($"{path}: is a device or a pipe; give a regular file");
        return Run(path, () =>
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
            return read(stream);
        });
    }

    /// <summary>Text from a file made fit for an error message: quoted, one line, not endless.</summary>
    public static string Quote(string text) => $"'{OneLine(text, 80)}'";

    private static string OneLine(string text, int limit)
    {
        string cut = text.Length <= limit ? text : text[..limit] + "...";
        return string.Create(cut.Length, cut, static (target, from) =>
        {
            for (int i = 0; i < target.Length; i++)
                target[i] = char.IsControl(from[i]) || from[i] is '\u2028' or '\u2029' ? '?' : from[i];
        });
    }
}
