using System.CommandLine;
using Espalier.Clip;
using Espalier.Cli.Display;
using Espalier.Cli.Running;
using Espalier.Cli.Options;
using Spectre.Console;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier clip`: images against sentences.</summary>
internal static class ClipVerb
{
    public static Command Create(CommandContext context)
    {
        var models = new Verb("models", "Lists the published models and where those are that were fetched.",
            "espalier clip models");
        models.SetAction(_ => Models(context.Terminal));
        var tokenize = new Verb("tokenize", "Prints the ids of texts, without start, end and padding.",
            "espalier clip tokenize --vocab bpe_simple_vocab_16e6.txt.gz --text hello --json")
        { ClipChoice.Vocabulary, ClipChoice.Texts, ClipChoice.Json };
        tokenize.SetAction(parse => Tokenize(parse, context));
        var towers = new Verb("towers", "Writes both towers as models of their own, to be compressed, quantised or exported.",
            "espalier clip towers --model ViT-B/32 --output-dir clip")
        { ClipChoice.Model, Shared.OutputDir };
        towers.SetAction(parse => Towers(parse, context));
        return new Verb("clip", "Images against sentences: labels without training, features, search, linear probe.",
            "espalier clip models", "espalier clip classify photo.jpg --model ViT-B/32 --class cat dog")
        {
            models, tokenize, ClipClassifyVerb.Create(context), ClipProbeVerb.Create(context), ClipSearchVerb.Create(context),
                towers,
        };
    }

    private static int Models(Terminal terminal)
    {
        Table table = Tables.New("model", "images", "features", "parameters", "file");
        foreach (ClipPreset preset in ClipWeights.All)
        {
            string path = Path.Combine(ClipWeights.DefaultDirectory, preset.File.Name);
            table.Row(preset.Name, $"{preset.ImageSize}", $"{preset.Embedding}", $"{preset.Parameters} M",
                File.Exists(path) ? path : "is fetched when it is used");
        }
        terminal.Console.Write(table);
        return ExitCodes.Done;
    }

    private static int Tokenize(ParseResult parse, CommandContext context)
    {
        string[] texts = parse.GetValue(ClipChoice.Texts) is { Length: > 0 } given ? given
            : throw new EspalierException("say which texts with --text TEXT");
        string path = parse.GetValue(ClipChoice.Vocabulary)
            ?? ClipWeights.FetchAsync(ClipWeights.Vocabulary, cancel: context.Cancel).GetAwaiter().GetResult();
        ClipTokenizer tokenizer = ClipTokenizer.Open(path);
        foreach (string text in texts)
        {
            int[] ids = tokenizer.Encode(text);
            if (!parse.GetValue(ClipChoice.Json)) context.Terminal.Line(string.Join(' ', ids));
            else
                JsonLines.Write(context.Terminal, json =>
                {
                    json.WriteString("text", text);
                    json.WriteStartArray("ids");
                    foreach (int id in ids) json.WriteNumberValue(id);
                    json.WriteEndArray();
                });
        }
        return ExitCodes.Done;
    }

    private static int Towers(ParseResult parse, CommandContext context)
    {
        string path = parse.GetValue(ClipChoice.Model)
            ?? throw new EspalierException("say which CLIP with --model NAME or --model FILE");
        string folder = parse.GetValue(Shared.OutputDir) ?? "clip";
        ClipModel.SaveTowers(path, folder);
        string[] files = [.. Directory.GetFiles(folder, "*.safetensors").Order(StringComparer.Ordinal)];
        context.Terminal.Line($"wrote {string.Join(" and ", files)}");
        return ExitCodes.Done;
    }
}
