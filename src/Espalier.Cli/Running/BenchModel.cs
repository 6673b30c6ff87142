using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Compression.Apt;
using Espalier.Imaging;
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
    private NetworkModules? modules;
    private AptModel? random;

    /// <param name="needsAgents">Whether a transformer without agents gets random ones.</param>
    public BenchModel(ParseResult parse, bool needsAgents)
    {
        (this.parse, path) = (parse, parse.GetValue(Shared.Model));
        if (path is null)
        {
            (Preprocessing, DenseMultiplyAdds) = (Modules.Preprocessing, Net.CountMultiplyAdds());
            (Parameters, IsTransformer) = (Net.ParameterCount, Net is VisionTransformer);
            Source = parse.GetValue(Shared.ModelType) ?? parse.GetValue(Shared.Config)!;
        }
        else
        {
            using Inference.Session session = Checkpoints.Open(parse, path);
            (Preprocessing, DenseMultiplyAdds) = (session.Preprocessing, session.DenseMultiplyAdds);
            (AgentLayers, Dataset, IsTransformer, Source) = (session.AgentLayers, session.Dataset, session.Tokens > 0, path);
            Parameters = session.ParameterCount;
        }
        HasAgents = AgentLayers.Count > 0;
        if (!needsAgents || HasAgents) return;
        if (!IsTransformer)
        {
            Dispose();
            throw new EspalierException($"{Source}: is a convolutional network, so --keep-share has no meaning; leave it out");
        }
        random = new AptModel((VisionTransformer)Net);
        AgentLayers = random.Layers;
    }

    public Preprocessing Preprocessing { get; }

    public long Parameters { get; }

    /// <summary>Of one image, nothing dropped.</summary>
    public double DenseMultiplyAdds { get; }

    /// <summary>Blocks after which agents act, random ones included.</summary>
    public IReadOnlyList<int> AgentLayers { get; } = [];

    /// <summary>Whether it has agents of its own.</summary>
    public bool HasAgents { get; }

    /// <summary>The data set that it was trained on, where it is known.</summary>
    public string? Dataset { get; }

    /// <summary>The file or the name that it was given by.</summary>
    public string Source { get; }

    public ImageClassifier Net => Modules.Net;

    /// <summary>With the agents that there are; null without any.</summary>
    public AptModel? Apt => random ?? Modules.Apt;

    private bool IsTransformer { get; }

    private NetworkModules Modules => modules ??= NetworkModules.Open(parse, "measure");

    /// <exception cref="EspalierException">Inference with this model does not know such numbers.</exception>
    public void RequirePrecision(Precision precision)
    {
        if (!IsTransformer && precision != Precision.Fp32)
            throw new EspalierException($"{Source}: is a convolutional network, which runs in fp32; leave --precision "
                + $"{Format.Name(precision)} out");
    }

    public Session Open(Precision precision)
    {
        var options = new SessionOptions { Precision = precision };
        if (random is not null) return new Inference.Session(random.Trace(), options) { Preprocessing = Preprocessing };
        if (path is not null) return Checkpoints.Open(parse, path, options);
        return Inference.Session.Of(Net, options);
    }

    public void Dispose()
    {
        if (random is not null) random.Dispose();
        else modules?.Dispose();
        (random, modules) = (null, null);
    }
}
