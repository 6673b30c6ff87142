using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Compression;
using Espalier.Formats;

namespace Espalier.Reporting;

/// <summary>What became of a network that was made smaller, and how. Every list may be empty.</summary>
public sealed record CompressionReport
{
    /// <summary>Of this file's form.</summary>
    public int Format { get; init; } = 1;

    public required string Method { get; init; }

    /// <summary>What the method does, in one line.</summary>
    public string Purpose { get; init; } = "";

    /// <summary>The network's name.</summary>
    public required string Network { get; init; }

    public string Dataset { get; init; } = "";

    /// <summary>Of everything random.</summary>
    public ulong Seed { get; init; }

    /// <summary>Processor and threads.</summary>
    public string Machine { get; init; } = "";

    public string CommandLine { get; init; } = "";

    /// <summary>The program and its version.</summary>
    public string Version { get; init; } = "";

    /// <summary>Options by name, those that were left at their usual values too.</summary>
    public IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();

    public required ModelNumbers Before { get; init; }

    public required ModelNumbers After { get; init; }

    /// <summary>All layers that could lose channels, in the order of the forward pass.</summary>
    public IReadOnlyList<CompressedGroup> Groups { get; init; } = [];

    /// <summary>Each choice of channels by scores.</summary>
    public IReadOnlyList<SelectionRecord> Selections { get; init; } = [];

    /// <summary>For each removal the layers that were fitted without training.</summary>
    public IReadOnlyList<IReadOnlyList<RecoveredLayer>> Recoveries { get; init; } = [];

    /// <summary>Each training.</summary>
    public IReadOnlyList<StageRecord> Stages { get; init; } = [];

    /// <summary>Writes it as JSON, whole or not at all.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public void SaveJson(string path) =>
        AtomicFile.Write(path, stream => JsonSerializer.Serialize(stream, this, ReportJson.Default.CompressionReport));

    /// <summary>Writes it as a page.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public void SaveHtml(string path) => HtmlPage.Write(path, CompressionPage.Render(this));
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true,
    NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals)]
[JsonSerializable(typeof(CompressionReport))]
[JsonSerializable(typeof(SensitivityReport))]
internal sealed partial class ReportJson : JsonSerializerContext;
