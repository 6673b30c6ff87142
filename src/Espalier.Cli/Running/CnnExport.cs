using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Models;
using Espalier.Onnx;

namespace Espalier.Cli.Running;

/// <summary>`espalier export` of a convolutional network: from a file, or by its name alone with random weights.</summary>
internal static class CnnExport
{
    /// <summary>Whether the options mean a convolutional network.</summary>
    public static bool IsMeant(ParseResult parse)
    {
        string? type = parse.GetValue(Shared.ModelType);
        return parse.GetValue(Shared.Model) is { } path ? Checkpoints.IsCnn(parse, path)
            : type is not null && CnnPresets.Names.Contains(type);
    }

    /// <param name="transformers">Options that were given and only transformers have a use for.</param>
    public static OnnxSummary Write(
        ParseResult parse, string path, int opset, Terminal terminal, params IReadOnlyList<string> transformers)
    {
        string? model = parse.GetValue(Shared.Model), type = parse.GetValue(Shared.ModelType);
        if (transformers.Count > 0)
            throw new EspalierException($"{model ?? type}: is a convolutional network, and {transformers[0]} of transformers; "
                + $"leave {transformers[0]} out");
        using LoadedCnn network = model is null ? Random(parse, CnnPresets.Get(type!)) : Checkpoints.LoadCnn(parse, model);
        OnnxSummary file = OnnxFile.Write(path, network, opset);
        string weights = model is null ? ", random weights" : "";
        terminal.Line($"wrote {path}, {Format.Bytes(file.Bytes)}, {network.Net.Config.Network} of "
            + $"{Format.Large(network.Net.ParameterCount)} parameters{weights}");
        return file;
    }

    private static LoadedCnn Random(ParseResult parse, CnnConfig config) => new(CnnPresets.Create(config), new CnnStructure
    {
        Config = config,
        Preprocessing = PreprocessChoice.Of(parse, config.ImageSize, config.Channels, PreprocessingDefaults.For(config)),
    });
}
