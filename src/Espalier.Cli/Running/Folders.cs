namespace Espalier.Cli.Running;

internal static class Folders
{
    /// <summary>Makes the folders of files that long work will end with, before it begins; nulls are files that nobody wants.
    /// </summary>
    /// <exception cref="EspalierException">One cannot be made.</exception>
    public static void MakeFor(params string?[] files)
    {
        foreach (string? file in files)
            if (Path.GetDirectoryName(file) is { Length: > 0 } folder) Make(folder);
    }

    /// <exception cref="EspalierException">It cannot be made.</exception>
    public static void Make(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{folder}: the folder cannot be made ({Errors.OneLine(e.Message)}); choose another", e);
        }
    }
}
