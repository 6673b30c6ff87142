using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Models;

namespace Espalier.Cli.Running;

/// <summary>`espalier export` of a convolutional network: from a file, or by its name with random weights.</summary>
/// <param name="Model">The file, or null for random weights.</param>
/// <param name="Network">The published network's name; null to go by the file's structure block.</param>
internal sealed record CnnExport(string? Model, string? Network)
{
    /// <summary>Null where a transformer is meant.</summary>
    public static CnnExport? From(ParseResult parse)
    {
        string? model = parse.GetValue(Shared.Model), type = parse.GetValue(Shared.ModelType);
        bool named = type is not null && CnnPresets.Names.Contains(type);
        return named || (model is not null && CnnFile.IsCnn(model)) ? new CnnExport(model, named ? type : null) : null;
    }

    /// <summary>Throws where an option is given that only transformers have a use for.</summary>
    public void Refuse(bool given, string option, string why)
    {
        if (given)
            throw new EspalierException($"{Model ?? Network}: is a convolutional network, {why}; leave {option} out");
    }

    public OnnxSummary Write(string path, int opset, Terminal terminal)
    {
        using LoadedCnn network = Open();
        OnnxSummary file = OnnxFile.Write(path, network, opset);
        string weights = Model is null ? ", random weights" : "";
        terminal.Line($"wrote {path}, {Format.Bytes(file.Bytes)}, {network.Net.Config.Network} of "
            + $"{Format.Large(network.Net.ParameterCount)} parameters{weights}");
        return file;
    }

    private LoadedCnn Open()
    {
        CnnConfig? config = Network is null ? null : CnnPresets.Get(Network);
        return Model is null
            ? new LoadedCnn(CnnPresets.Create(config!), new CnnStructure { Config = config! })
            : CnnFile.Load(Model, config);
    }
}
