namespace Espalier.Cli.Running;

internal static class Folders
{
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
