using System.Text.Json.Serialization;
using Espalier.Tensors.Threading;

namespace Espalier.Server;

/// <summary>What the service is started with. As JSON it is the only argument of its program; the tool, which writes it, has this
/// file too.</summary>
internal sealed record ServerSettings
{
    private const int FewestTogether = 4;

    /// <summary>Model files; the page shows the first two side by side.</summary>
    public required IReadOnlyList<string> Models { get; init; }

    /// <summary>The address of this machine that is listened on.</summary>
    public string Host { get; init; } = "127.0.0.1";

    /// <summary>0 for one that is free.</summary>
    public int Port { get; init; } = 8080;

    /// <summary>Threads that compute; null for the usual number.</summary>
    public int? Threads { get; init; }

    /// <summary>Images that are computed together at most; null for as many as there are threads, and <see cref="FewestTogether"/> at
    /// least. More is faster under full load, by little, and what comes meanwhile waits longer for all of them.</summary>
    public int? Batch { get; init; }

    /// <summary>The same as a number.</summary>
    [JsonIgnore]
    public int MostTogether => Batch ?? Math.Max(FewestTogether, Workers.Threads);

    /// <summary>Images that may wait for each model.</summary>
    public int Queue { get; init; } = 128;

    public int MostBodyBytes { get; init; } = 16 << 20;

    /// <summary>Of one image as it is stored.</summary>
    public int MostPixels { get; init; } = 64 << 20;

    /// <summary>What a request may take from its first byte to its answer.</summary>
    public double Seconds { get; init; } = 30;

    /// <summary>CLIP's vocabulary; null for the published one.</summary>
    public string? Vocabulary { get; init; }

    /// <summary>Whether the end of the input ends the service: then it does not outlive who started it.</summary>
    public bool StopsWithInput { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(ServerSettings))]
internal sealed partial class SettingsJson : JsonSerializerContext;
