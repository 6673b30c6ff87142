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
            long there = new FileInfo(path).Length;
            long offset = Number(at, "offset", 0, what), length = Number(at, "length", tensor.ByteLength, what);
            if (length != tensor.ByteLength || offset > there || length > there - offset || length > Array.MaxLength)
                throw new InvalidDataException(
                    $"{what} has {tensor.ByteLength} bytes, and {ReadGuard.Quote(location)} has others there");
            tensor.Stored = new ProtoBytes(new Beside(folder, location, what), offset, (int)length);
        }
    }

    /// <summary>A file beside the model's, opened when its numbers are asked for: a model may have thousands. What is opened is looked
    /// at again, since it may have become another.</summary>
    private sealed class Beside(string folder, string location, string what) : IBytes
    {
        public void CopyTo(long start, Span<byte> to)
        {
            using ProtoFile file = ProtoFile.Open(Inside(folder, location)
                ?? throw new InvalidDataException($"{what}: {ReadGuard.Quote(location)} is gone"));
            file.CopyTo(start, to);
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
