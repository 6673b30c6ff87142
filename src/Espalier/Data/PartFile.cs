using Espalier.Formats;

namespace Espalier.Data;

/// <summary>
/// The part of a download that has arrived, open for this process only, and beside it the server's ETag, so that a later
/// process does not continue another version of the file.
/// </summary>
internal sealed class PartFile : IDisposable
{
    private readonly string tagPath;

    public PartFile(string path)
    {
        tagPath = TagPath(path);
        Stream = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        Stream.Position = Stream.Length;
        if (Length == 0 || !File.Exists(tagPath)) return;
        string tag = File.ReadAllText(tagPath);
        if (tag.Length is > 2 and < 1000 && tag[0] == '"' && tag[^1] == '"') Tag = tag;
    }

    public FileStream Stream { get; }

    public long Length => Stream.Length;

    /// <summary>The strong ETag that came with the first byte, quotes included; null where there was none.</summary>
    public string? Tag { get; private set; }

    public void Append(ReadOnlySpan<byte> bytes)
    {
        Stream.Position = Stream.Length;
        Stream.Write(bytes);
    }

    /// <summary>Forgets what has arrived.</summary>
    public void Restart(string? tag)
    {
        Stream.SetLength(0);
        Tag = tag;
        if (tag != null) File.WriteAllText(tagPath, tag);
        else File.Delete(tagPath);
    }

    /// <summary>Gives the closed, complete file its name.</summary>
    public static void Finish(string path, string finalPath)
    {
        FileSystem.Replace(path, finalPath);
        File.Delete(TagPath(path));
    }

    public void Dispose() => Stream.Dispose();

    private static string TagPath(string path) => path + ".etag";
}
