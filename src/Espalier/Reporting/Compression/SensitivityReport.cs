using System.Text.Json;
using Espalier.Compression;
using Espalier.Formats;

namespace Espalier.Reporting;

/// <summary>How far each layer of a network can go.</summary>
public sealed record SensitivityReport
{
    /// <summary>Of this file's form.</summary>
    public int Format { get; init; } = 1;

    /// <summary>What scored the channels.</summary>
    public required string Method { get; init; }

    /// <summary>The network's name.</summary>
    public required string Network { get; init; }

    public string Dataset { get; init; } = "";

    /// <summary>Processor and threads.</summary>
    public string Machine { get; init; } = "";

    public string CommandLine { get; init; } = "";

    /// <summary>The program and its version.</summary>
    public string Version { get; init; } = "";

    public required SensitivityResult Result { get; init; }

    /// <summary>Writes it as JSON, whole or not at all.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public void SaveJson(string path) =>
        AtomicFile.Write(path, stream => JsonSerializer.Serialize(stream, this, ReportJson.Default.SensitivityReport));

    /// <summary>Writes it as a page.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public void SaveHtml(string path) => HtmlPage.Write(path, SensitivityPage.Render(this));
}
