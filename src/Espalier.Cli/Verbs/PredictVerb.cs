using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Reporting;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier predict`: classifies image files and draws what was pruned.</summary>
internal static class PredictVerb
{
    private static readonly Argument<string[]> Images = new("IMAGE")
    {
        Description = "PNG, JPEG, BMP, GIF or WebP files, or folders of them",
        Arity = ArgumentArity.OneOrMore,
    };

    private static readonly Option<int?> Top = Opt.Number("--top", "Classes to show [5]", 1, 1000);
    private static readonly Option<bool> NoPicture =
        Opt.Flag("--no-picture", "Draw nothing, neither here nor as NAME.tokens.png");

    private static readonly Option<bool> AsStored =
        Opt.Flag("--as-stored", "Do not turn photos upright as their EXIF orientation says");

    private static readonly Option<bool> Json = Opt.Flag("--json", "One JSON line an image, and no picture");

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("predict", "Classifies image files and draws the tokens that were dropped, layer by layer.",
            "espalier predict boot.png", "espalier predict photos/*.jpg --model apt.safetensors --top 3 --output-dir drawn")
        {
            Images, Shared.Model, Shared.OutputDir, Top, NoPicture, Json, AsStored, Shared.Strict,
            Shared.Threshold, Shared.KeepShare, Shared.Precision, Shared.Config, Shared.ModelType, Shared.Averaged,
            Shared.Classes, Shared.Preprocess,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        string path = Checkpoints.OrShipped(parse);
        using Session model = Checkpoints.Open(parse, path);
        Checkpoints.RequireClassifier(model, path);
        var predictor = new Predictor(model);
        string folder = parse.GetValue(Shared.OutputDir) ?? ".";
        var written = new HashSet<string>();
        bool json = parse.GetValue(Json);
        if (!json) PreprocessChoice.Show(context.Terminal, model.Preprocessing);
        int code = ExitCodes.Done;
        foreach (string file in PictureFiles.Of(parse.GetValue(Images)!, parse.GetValue(Shared.Strict), context))
        {
            context.Cancel.ThrowIfCancellationRequested();
            Image image;
            try
            {
                image = ImageFile.Read(file, upright: !parse.GetValue(AsStored));
            }
            catch (EspalierException e) when (!parse.GetValue(Shared.Strict))
            {
                context.Terminal.ErrorLine($"espalier: {Errors.OneLine(e.Message)}");
                code = ExitCodes.WrongInput;
                continue;
            }
            Prediction prediction = predictor.Run(image);
            if (!prediction.Probabilities.All(float.IsFinite))
                throw new EspalierException($"{path}: gives no numbers for {file}; the checkpoint is damaged");
            if (json)
            {
                JsonLines.Write(context.Terminal, file, prediction, parse.GetValue(Top) ?? 5);
                continue;
            }
            context.Terminal.Line();
            Print(context.Terminal, file, model, prediction, parse.GetValue(Top) ?? 5);
            if (parse.GetValue(NoPicture) || prediction.Kept.Length == 0) continue;
            Image seen = ImagePipeline.Seen(model.Preprocessing, image);
            Draw(context.Terminal, seen, model, prediction);
            string picture = Path.Combine(folder, Unique(written, Path.GetFileNameWithoutExtension(file)) + ".tokens.png");
            Folders.Make(folder);
            PngWriter.Write(picture, TokenPicture.Strip(seen, model.TokenGrid, prediction.Kept, model.PrefixTokens));
            context.Terminal.Line($"drawn in {picture}");
        }
        return code;
    }

    private static void Print(Terminal terminal, string file, Session model, Prediction prediction, int top)
    {
        terminal.Line(Terminal.Name(file));
        foreach (int c in prediction.Ranking.Take(top))
            terminal.Line($"  {Format.Percent(prediction.Probabilities[c]),8}  {prediction.Name(c)}");
        if (prediction.Tokens.Length == 0) return;
        terminal.Line("  tokens: " + string.Join(", ", prediction.Tokens.Select((n, i) =>
            i == 0 ? $"{n} initial" : $"{n} after layer {model.AgentLayers[i - 1]}")));
    }

    private static void Draw(Terminal terminal, Image image, Session model, Prediction prediction)
    {
        foreach (string line in TerminalPicture.Render(image, model.TokenGrid, prediction.Kept, Math.Max(terminal.Width, 4),
            terminal.Interactive ? TerminalPicture.Detect() : TerminalColors.None, model.PrefixTokens))
        {
            terminal.Picture(line);
        }
    }

    private static string Unique(HashSet<string> used, string name)
    {
        string unique = name;
        for (int i = 2; !used.Add(unique); i++) unique = $"{name}-{i}";
        return unique;
    }
}
