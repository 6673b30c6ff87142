using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Compression.Apt;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>
/// The model that `bench` measures. Sessions come straight from its file, if it has one: its modules are in memory only where
/// something is trained, or where it has no file.
/// </summary>
internal sealed class BenchModel : IDisposable
{
    private readonly ParseResult parse;
    private readonly string? path;
    private VisionTransformer? fresh;
    private LoadedModel? loaded;
    private AptModel? random;

    /// <param name="needsAgents">Whether a model without agents gets random ones.</param>
    public BenchModel(ParseResult parse, bool needsAgents)
    {
        (this.parse, path) = (parse, parse.GetValue(Shared.Model));
        if (path is null)
        {
            fresh = new VisionTransformer(ModelChoice.Named(parse, "measure"));
            Config = fresh.Config;
            Source = parse.GetValue(Shared.ModelType) ?? parse.GetValue(Shared.Config)!;
        }
        else
        {
            using VitSession session = Checkpoints.OpenVit(parse, path);
            (Config, AgentLayers, Dataset, Source) = (session.Config, session.AgentLayers, session.Structure.Dataset, path);
        }
        HasAgents = AgentLayers.Count > 0;
        if (!needsAgents || HasAgents) return;
        random = new AptModel(Vit);
        AgentLayers = random.Layers;
    }

    public VitConfig Config { get; }

    /// <summary>Blocks after which agents act, random ones included.</summary>
    public IReadOnlyList<int> AgentLayers { get; } = [];

    /// <summary>Whether it has agents of its own.</summary>
    public bool HasAgents { get; }

    /// <summary>The data set that it was trained on, where it is known.</summary>
    public string? Dataset { get; }

    /// <summary>The file or the name that it was given by.</summary>
    public string Source { get; }

    public VisionTransformer Vit => fresh ?? Loaded.Vit;

    /// <summary>With the agents that there are; null without any.</summary>
    public AptModel? Apt => random ?? (path is null ? null : Loaded.Apt);

    private LoadedModel Loaded => loaded ??= Checkpoints.Load(parse, path!);

    public VitSession Open(Precision precision)
    {
        var options = new SessionOptions { Precision = precision };
        return random is not null ? new VitSession(random, options)
            : path is null ? new VitSession(Vit, options)
            : Checkpoints.OpenVit(parse, path, options);
    }

    public void Dispose()
    {
        if (random is not null) random.Dispose();
        else fresh?.Dispose();
        loaded?.Dispose();
        (random, fresh, loaded) = (null, null, null);
    }
}
