using System.CommandLine;
using System.Globalization;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Tensors;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier export`: a checkpoint as an ONNX file, for other runtimes.</summary>
internal static class ExportVerb
{
    private static readonly Option<string?> Onnx = Opt.Text("--onnx", "The file to write", "FILE.onnx");
    private static readonly Option<bool> Dense =
        Opt.Flag("--dense", "Keep every token, for batches of any size; else the agents act, on one image at a time");
    private static readonly Option<string?> Precision = Opt.Choice("--precision",
        "Of the matrix products in the blocks [fp32]; int8 rounds weights and what meets them to 8 bits", "fp32", "int8");
    private static readonly Option<string?> Opset = Opt.Choice("--opset",
        "Version of ONNX's operators [17]; 23 has attention as one operator, for runtimes since 2025",
        [.. OnnxFile.Opsets.Select(o => o.ToString(CultureInfo.InvariantCulture))]);

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("export", "Writes a checkpoint as an ONNX file, pruned where it has agents.",
            "espalier export --onnx apt.onnx --model apt.safetensors",
            "espalier export --onnx resnet50.onnx --model resnet50.pth --model-type resnet50",
            "espalier export --onnx vit.onnx --model ViT-B_16.npz --model-type ViT-B_16 --dense",
            "espalier export --onnx small.onnx --model apt.safetensors --precision int8")
        {
            Onnx, Shared.Model, Dense, Precision, Opset, Shared.Threshold, Shared.Config, Shared.ModelType,
            Shared.Averaged, Shared.Preprocess,
        };
        verb.SetAction(parse => Run(parse, context.Terminal));
        return verb;
    }

    private static int Run(ParseResult parse, Terminal terminal)
    {
        string path = parse.GetValue(Onnx) ?? throw new EspalierException("say which file to write with --onnx FILE.onnx");
        int opset = int.Parse(parse.GetValue(Opset) ?? "17", CultureInfo.InvariantCulture);
        bool dense = parse.GetValue(Dense), int8 = parse.GetValue(Precision) == "int8";
        if (dense && parse.GetValue(Shared.Threshold) is not null)
            throw new EspalierException("--dense keeps every token, so --threshold has no meaning; leave one of them out");
        Folders.RefuseInput(path, parse.GetValue(Shared.Model), "--onnx");
        using Model model = Checkpoints.OpenOrCreate(parse, "export", anyInput: true);
        string source = parse.GetValue(Shared.Model) ?? model.Description;
        Folders.MakeFor(path);
        RefuseWithoutTokens(parse, model, source, dense, int8);
        bool drops = model.Graph.Nodes.Any(n => n.Op is KeepRowsOp), prune = drops && !dense;
        if (parse.GetValue(Shared.Threshold) is { } threshold)
        {
            Checkpoints.RequireAgents(drops, source, "--threshold");
            model.SetKeepRule(KeepRule.AtLeast(-threshold));
        }
        OnnxSummary file = model.ExportOnnx(path, new OnnxOptions
        {
            Opset = opset, Prune = prune, Precision = int8 ? Tensors.Precision.Int8 : Tensors.Precision.Fp32,
        });
        string how = !ModelChoice.IsTransformer(model.Graph)
            ? $"{model.Card.Architecture ?? model.Description} of {Format.Large(model.ParameterCount)} parameters"
            : prune ? $"pruned, {Pruning.Of(model.Graph)}" : "every token kept";
        string weights = parse.GetValue(Shared.Model) is null ? ", random weights" : "";
        terminal.Line($"wrote {path}, {Format.Bytes(file.Bytes)}, {how}{(int8 ? ", int8" : "")}{weights}");
        if (model.Graph.Nodes.Any(n => n.Op is QuantiseOp))
            terminal.Line("codes    8 bits; ONNX Runtime's sums of bytes saturate on processors without VNNI: for those quantise with --bits 7");
        return Say(file, terminal);
    }

    private static void RefuseWithoutTokens(ParseResult parse, Model model, string source, bool dense, bool int8)
    {
        string? given = dense ? "--dense" : parse.GetValue(Shared.Threshold) is not null ? "--threshold"
            : int8 ? "--precision int8" : null;
        if (given is not null && !ModelChoice.IsTransformer(model.Graph))
            throw new EspalierException($"{source}: is no transformer, and {given} is for those; leave {given} out");
    }

    private static int Say(OnnxSummary file, Terminal terminal)
    {
        terminal.Line($"inputs   {string.Join(", ", file.Inputs)}");
        terminal.Line($"outputs  {string.Join(", ", file.Outputs)}");
        terminal.Line($"opset    {file.Opset}");
        return ExitCodes.Done;
    }
}
