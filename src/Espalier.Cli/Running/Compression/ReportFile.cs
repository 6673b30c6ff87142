namespace Espalier.Cli.Running;

/// <summary>Where `compress` writes its report, and in which form.</summary>
internal sealed record ReportFile
{
    private const string Html = ".html", Json = ".json";

    /// <exception cref="EspalierException">The name does not say which form.</exception>
    public ReportFile(string path)
    {
        string extension = System.IO.Path.GetExtension(path).ToLowerInvariant();
        if (extension is not (Html or Json))
            throw new EspalierException($"--report {path}: a report is a page (FILE{Html}) or data (FILE{Json})");
        (Path, IsPage) = (path, extension == Html);
    }

    public string Path { get; }

    public bool IsPage { get; }
}
