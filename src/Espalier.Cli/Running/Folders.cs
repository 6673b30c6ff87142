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

    /// <summary>An output that would take the place of the file it is made from is a mistake: the original would be gone.</summary>
    /// <exception cref="EspalierException">They are one file, by a link too.</exception>
    public static void RefuseInput(string? output, string? input, string option)
    {
        if (output is not null && input is not null && File.Exists(input) && File.Exists(output) && Real(output) == Real(input))
            throw new EspalierException($"{option} {output}: is the file that is read; give another name");

        static string Real(string path) => File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? Path.GetFullPath(path);
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
