using Espalier.Compression;

namespace Espalier.Cli.Running;

/// <summary>What `compress` was asked to do.</summary>
internal sealed record CompressPlan
{
    /// <summary>Names the network as it was, as its own teacher.</summary>
    private const string SelfTeacher = "self";

    public required ICompressionMethod Method { get; init; }

    public required CompressSource Source { get; init; }

    /// <summary>Of all training; its teacher may be the network itself, before the method begins.</summary>
    public required Recipe Recipe { get; init; }

    /// <summary>Steps of ordinary training before the method begins.</summary>
    public long PretrainSteps { get; init; }

    /// <summary>Where the smaller network goes; null to write none.</summary>
    public string? Output { get; init; }

    /// <summary>Where the last selection goes, as JSON.</summary>
    public string? PlanFile { get; init; }

    /// <summary>Where the report goes; null for none.</summary>
    public ReportFile? Report { get; init; }

    /// <summary>Only say what would go.</summary>
    public bool PlanOnly { get; init; }

    public required CompressionOptions Options { get; init; }

    public bool TeachesItself => Recipe.Teacher == SelfTeacher;
}
