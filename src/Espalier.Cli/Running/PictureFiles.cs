using Espalier.Data;

namespace Espalier.Cli.Running;

/// <summary>Pictures that are given as files and as folders of them.</summary>
internal static class PictureFiles
{
    /// <param name="strict">A picture that cannot be read ends the work; else it is left out and named in the end.</param>
    /// <exception cref="EspalierException">A folder has none.</exception>
    public static IEnumerable<string> Of(IEnumerable<string> given, bool strict, CommandContext context)
    {
        var skipped = new SkippedFiles(strict);
        context.Opened(skipped);
        foreach (string path in given)
        {
            string[] files = Directory.Exists(path) ? ClassFolder.Pictures(path, skipped) : [path];
            if (files.Length == 0) throw new EspalierException($"{path}: no images in it that are read.");
            foreach (string file in files) yield return file;
        }
    }
}
