using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Compression;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>
/// The model that `bench` measures. Sessions come straight from its file, if it has one: its weights are in memory as a model only
/// where something is trained, where it has no file, or where it gets random agents.
/// </summary>
internal sealed class BenchModel : IDisposable
{
    private readonly ParseResult parse;
    private readonly string? path;
    private readonly bool random;
    private Model? model;

    /// <param name="needsAgents">Whether a transformer without agents gets random ones.</param>
    public BenchModel(ParseResult parse, bool needsAgents)
    {
        (this.parse, path) = (parse, parse.GetValue(Shared.Model));
        Source = path ?? parse.GetValue(Shared.ModelType) ?? parse.GetValue(Shared.Config) ?? "";
        using Session? session = path is null ? null : Checkpoints.Open(parse, path);
        if (session is null)
        {
            var costs = new RowCosts(Net.Graph);
            (Preprocessing, DenseMultiplyAdds, Parameters) = (Net.Card.Preprocessing!, costs.Dense, Net.ParameterCount);
            IsTransformer = ModelChoice.IsTransformer(Net.Graph);
        }
        else
        {
            (Preprocessing, DenseMultiplyAdds, Parameters) = (session.Preprocessing, session.DenseMultiplyAdds, session.ParameterCount);
            (AgentLayers, Dataset, IsTransformer) = (session.AgentLayers, session.Dataset, session.Tokens > 0);
        }
        HasAgents = AgentLayers.Count > 0;
        if (parse.GetValue(Shared.Threshold) is not null) Checkpoints.RequireAgents(HasAgents, Source, "--threshold");
        if (!needsAgents || HasAgents) return;
        if (!IsTransformer)
        {
            Dispose();
            throw new EspalierException($"{Source}: is a convolutional network, so --keep-share has no meaning; leave it out");
        }
        random = true;
        TokenAgents.Add(Net);
        AgentLayers = new RowCosts(Net.Graph).KeepsAfter;
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

    /// <summary>With the agents that there are.</summary>
    public Model Net
    {
        get
        {
            if (model is not null) return model;
            model = Checkpoints.OpenOrCreate(parse, "measure");
            if (parse.GetValue(Shared.Threshold) is { } threshold) model.SetKeepRule(KeepRule.AtLeast(-threshold));
            return model;
        }
    }

    private bool IsTransformer { get; }

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
        return path is not null && !random ? Checkpoints.Open(parse, path, options) : Session.Of(Net, options);
    }

    public void Dispose() => model?.Dispose();
}
