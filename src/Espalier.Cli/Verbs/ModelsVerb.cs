using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Cli.Running;
using Espalier.Models;
using Espalier.Nn;
using Spectre.Console;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier models`: the networks that have names, what they cost, and where trained weights for them are.</summary>
internal static class ModelsVerb
{
    private const string Unpublished = "none: to be trained";

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("models", "Lists the networks by name: size, cost of an image, where trained weights are published.",
            "espalier models");
        verb.SetAction(_ => Run(context.Terminal));
        return verb;
    }

    private static int Run(Terminal terminal)
    {
        Table table = Tables.New("--model-type", "pixels", "parameters", "MACs", "weights");
        table.Columns[^1].Alignment = Justify.Left;
        using InitSkip _ = Init.ShapesOnly();
        foreach (string name in VitPresets.Names.Concat(CnnPresets.Names))
        {
            using Model model = Model.Create(name);
            table.Row(name, $"{model.ImageSize}", Format.Large(model.ParameterCount), Format.Large(model.Graph.CostPerImage.MultiplyAdds),
                Source(name));
        }
        terminal.Console.Write(table);
        foreach (var group in PresetNames.Aliases.GroupBy(a => a.Value, a => a.Key))
            terminal.Line($"{group.Key}: also {string.Join(", ", group)}");
        terminal.Line("Any other file: --model FILE for what espalier or an ONNX exporter wrote, with --model-type NAME for PyTorch's.");
        return ExitCodes.Done;
    }

    /// <summary>Who publishes weights under these names, to be given by --model or --pretrained.</summary>
    private static string Source(string name) => name switch
    {
        _ when ModelChoice.Small.Contains(name) => Unpublished,
        "vanilla-c3" or "xception" or "resnet20" or "resnet56" or "resnet110" or "densenet40" => Unpublished,
        _ when name.StartsWith("preresnet", StringComparison.Ordinal) || name.StartsWith("cifar-", StringComparison.Ordinal)
            => "own runs of its authors' code",
        _ when name.StartsWith("DeiT", StringComparison.Ordinal) => "facebookresearch/deit, timm",
        _ when VitPresets.Names.Contains(name) => "Google, timm, torchvision, Hugging Face",
        _ => "torchvision",
    };
}
