using System.Globalization;
using Espalier.Formats;
using Espalier.Formats.Onnx;

namespace Espalier.Onnx;

/// <summary>
/// Constants in files beside the model's. Only plain files inside the model's folder are read: no way up, no link in any part of
/// the path, no second name of the file, and nothing beyond its end.
/// </summary>
internal static class OnnxExternalData
{
    /// <exception cref="InvalidDataException">A file is elsewhere, missing or too short.</exception>
    public static void Load(OnnxSource source, string? folder)
    {
        foreach (OnnxSourceTensor tensor in source.Initialisers.Values)
        {
            if (tensor.External is not { } at) continue;
            string what = $"the constant {ReadGuard.Quote(tensor.Name)}";
            if (folder is null) throw new InvalidDataException($"{what} is in another file");
            string location = at.GetValueOrDefault("location", "");
            string path = Inside(folder, location) ?? throw new InvalidDataException(
                $"{what} is in {ReadGuard.Quote(location)}, which is no plain file inside the model's folder");
            using FileStream file = File.OpenRead(path);
            long offset = Number(at, "offset", 0, what), length = Number(at, "length", tensor.ByteLength, what);
            if (length != tensor.ByteLength || offset > file.Length || length > file.Length - offset || length > Array.MaxLength)
                throw new InvalidDataException(
                    $"{what} has {tensor.ByteLength} bytes, and {ReadGuard.Quote(location)} has others there");
            var bytes = new byte[length];
            file.Position = offset;
            file.ReadExactly(bytes);
            tensor.Raw = bytes;
        }
    }

    private static long Number(IReadOnlyDictionary<string, string> at, string key, long otherwise, string what) =>
        !at.TryGetValue(key, out string? text) ? otherwise
        : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number
        : throw new InvalidDataException($"{what} has the {key} {ReadGuard.Quote(text)}");

    private static string? Inside(string folder, string location)
    {
        string[] parts = location.Split('/', '\\');
        if (location.Length == 0 || Path.IsPathRooted(location)
            || parts.Any(p => p is "" or "." or ".." || p.Contains(':', StringComparison.Ordinal)))
            return null;
        string path = folder;
        foreach (string part in parts)
        {
            path = Path.Combine(path, part);
            if (new FileInfo(path).LinkTarget is not null) return null;
        }
        return File.Exists(path) && !FileSystem.IsSpecialFile(path) && FileSystem.Names(path) <= 1 ? path : null;
    }
}
