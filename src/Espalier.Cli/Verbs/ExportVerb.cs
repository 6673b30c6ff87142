using System.CommandLine;
using System.Globalization;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Models;
using Espalier.Onnx;

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

    public static Command Create(Session session)
    {
        var verb = new Verb("export", "Writes a checkpoint as an ONNX file, pruned where it has agents.",
            "espalier export --onnx apt.onnx --model apt.safetensors",
            "espalier export --onnx resnet50.onnx --model resnet50.pth --model-type resnet50",
            "espalier export --onnx vit.onnx --model ViT-B_16.npz --model-type ViT-B_16 --dense",
            "espalier export --onnx small.onnx --model apt.safetensors --precision int8")
        {
            Onnx, Shared.Model, Dense, Precision, Opset, Shared.Threshold, Shared.Config, Shared.ModelType,
            Shared.Preprocess,
        };
        verb.SetAction(parse => Run(parse, session.Terminal));
        return verb;
    }

    private static int Run(ParseResult parse, Terminal terminal)
    {
        string path = parse.GetValue(Onnx) ?? throw new EspalierException("say which file to write with --onnx FILE.onnx");
        int opset = int.Parse(parse.GetValue(Opset) ?? "17", CultureInfo.InvariantCulture);
        bool dense = parse.GetValue(Dense), int8 = parse.GetValue(Precision) == "int8";
        if (dense && parse.GetValue(Shared.Threshold) is not null)
            throw new EspalierException("--dense keeps every token, so --threshold has no meaning; leave one of them out");
        if (CnnExport.IsMeant(parse))
        {
            List<string> refused = [];
            if (dense) refused.Add("--dense");
            if (parse.GetValue(Shared.Threshold) is not null) refused.Add("--threshold");
            if (int8) refused.Add("--precision int8");
            if (parse.GetValue(Shared.Config) is not null) refused.Add("--config");
            return Say(CnnExport.Write(parse, path, opset, terminal, refused), terminal);
        }
        using LoadedModel model = Checkpoints.Load(parse, Checkpoints.Required(parse));
        bool prune = model.Apt is not null && !dense;
        OnnxSummary file =
            OnnxFile.Write(path, model, prune, int8 ? Tensors.Precision.Int8 : Tensors.Precision.Fp32, opset);
        string how = prune ? $"pruned, threshold {Format.Number(model.Apt!.Threshold, "0.###")}" : "every token kept";
        terminal.Line($"wrote {path}, {Format.Bytes(file.Bytes)}, {how}{(int8 ? ", int8" : "")}");
        return Say(file, terminal);
    }

    private static int Say(OnnxSummary file, Terminal terminal)
    {
        terminal.Line($"inputs   {string.Join(", ", file.Inputs)}");
        terminal.Line($"outputs  {string.Join(", ", file.Outputs)}");
        terminal.Line($"opset    {file.Opset}");
        return ExitCodes.Done;
    }
}
