namespace Espalier.Tests.Formats;

/// <summary>Golden files of the formats, and a folder for a test's own files.</summary>
internal static class FormatFiles
{
    public static string Golden(string file) => Path.Combine(AppContext.BaseDirectory, "Goldens", "Formats", file);

    /// <summary>0, 0.5, 1, ...: what most goldens hold.</summary>
    public static float[] Ramp(int count) => [.. Enumerable.Range(0, count).Select(i => i / 2f)];
}

internal sealed class TemporaryFolder : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("espalier-");

    public string this[string name] => Path.Combine(folder.FullName, name);

    public string FullName => folder.FullName;

    public string[] Names => [.. folder.EnumerateFileSystemInfos().Select(f => f.Name).Order(StringComparer.Ordinal)];

    public void Dispose() => folder.Delete(recursive: true);
}
