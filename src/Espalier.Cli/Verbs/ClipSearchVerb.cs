using System.CommandLine;
using System.Globalization;
using Espalier.Clip;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Imaging;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier clip search`: the pictures of a folder that fit a sentence, or another picture, best.</summary>
internal static class ClipSearchVerb
{
    private const string IndexName = ".espalier-clip.safetensors";

    private static readonly Argument<string> Folder = new("DIR") { Description = "Folder of pictures, those of sub-folders too" };

    private static readonly Option<string?> Picture = Opt.Text("--image", "A picture to find others like it", "FILE");

    private static readonly Option<string?> Index = Opt.Text("--index",
        $"Where the pictures' features are kept [DIR/{IndexName}]", "FILE");

    private static readonly Option<int?> Top = Opt.Number("--top", "Pictures to show [10]", 1, 100_000);

    private static readonly Option<bool> Offline = Opt.Flag("--no-update",
        "Search what is in the index, without looking for new pictures");

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("search", "Finds the pictures of a folder that fit a sentence best; keeps their features.",
            "espalier clip search photos --model ViT-B/32 --text sunset",
                "espalier clip search photos --model clip.pt --image boot.png --json")
        {
            Folder, ClipChoice.Model, ClipChoice.Vocabulary, ClipChoice.Texts, Picture, Index, Top, Offline, ClipChoice.Json,
            Shared.Precision,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        string folder = parse.GetValue(Folder)!;
        string[] texts = parse.GetValue(ClipChoice.Texts) ?? [];
        if (texts.Length == 0 && parse.GetValue(Picture) is null)
            throw new EspalierException("say what to look for with --text or --image");
        if (!Directory.Exists(folder)) throw new EspalierException($"{folder}: no such folder");
        string path = parse.GetValue(Index) ?? Path.Combine(folder, IndexName);
        Folders.MakeFor(path);
        EmbeddingIndex? known = File.Exists(path) ? EmbeddingIndex.Open(path) : null;
        using ClipModel model = ClipChoice.Open(parse, context);
        EmbeddingIndex index = Updated(parse, folder, path, model, known, context);
        foreach (string text in texts) Show(parse, context.Terminal, text, index.Search(model.EncodeText(text)[0],
            parse.GetValue(Top) ?? 10));
        if (parse.GetValue(Picture) is { } picture)
            Show(parse, context.Terminal, picture, index.Search(model.EncodeImage(ImageFile.Read(picture))[0], parse.GetValue(Top)
                ?? 10));
        return ExitCodes.Done;
    }

    private static EmbeddingIndex Updated(ParseResult parse, string folder, string path, ClipModel model, EmbeddingIndex? known,
        CommandContext context)
    {
        if (parse.GetValue(Offline))
        {
            if (known is null) throw new EspalierException($"{path}: no such index; leave --no-update out to make it");
            if (!known.IsOf(model))
                throw new EspalierException($"{path}: is of another model; leave --no-update out to make it again");
            return known;
        }
        EmbeddingIndex index = Watch.Run(context.Terminal.BesideData(), "images", 1, report => EmbeddingIndex.Of(folder, model, known,
            (file, e) => context.Terminal.ErrorLine($"espalier: left out: {Errors.OneLine(e.Message)}"),
            (done, all) => report((double)done / all), context.Cancel));
        if (known is null || !index.Images.SequenceEqual(known.Images) || !known.IsOf(model)) index.Save(path);
        return index;
    }

    private static void Show(ParseResult parse, Terminal terminal, string query, SearchHit[] hits)
    {
        if (parse.GetValue(ClipChoice.Json))
        {
            JsonLines.Write(terminal, json =>
            {
                json.WriteString("query", query);
                json.Strings("images", hits.Select(h => h.Path));
                json.Numbers("scores", hits.Select(h => h.Score));
            });
            return;
        }
        terminal.Line(query);
        foreach (SearchHit hit in hits)
            terminal.Line($"  {hit.Score.ToString("0.0000", CultureInfo.InvariantCulture)}  {Terminal.Name(hit.Path)}");
    }
}
