using System.CommandLine;
using Espalier.Clip;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier clip classify`: how well each of some sentences, or of some classes' names, fits each image.</summary>
internal static class ClipClassifyVerb
{
    private static readonly Argument<string[]> Images = new("IMAGE")
    {
        Description = "PNG, JPEG, BMP, GIF or WebP files, or folders of them",
        Arity = ArgumentArity.ZeroOrMore,
    };

    private static readonly Option<string[]> Classes = ClipChoice.Many("--class", "Names of classes, in the place of --text",
        "NAME...");

    private static readonly Option<string?> ClassFile =
        Opt.Text("--class-file", "The same from a file, a name a line", "FILE");

    private static readonly Option<string[]> Templates = ClipChoice.Many("--template",
        "Sentences with {} for a class's name, whose mean "
        + $"is the class; or {string.Join(", ", PromptTemplates.Names)} [plain]", "TEMPLATE...");

    private static readonly Option<string?> Save = Opt.Text("--save",
        "Write the image tower with these classes as a classifier, which needs no texts any more", "FILE.safetensors");

    private static readonly Option<int?> Top = Opt.Number("--top", "Labels to show of each image [5]", 1, 1000);

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("classify", "How well sentences, or classes by their names, fit images; nothing is trained.",
            "espalier clip classify CLIP.png --model ViT-B/32 --text \"diagram\" \"dog\" --json",
            "espalier clip classify photos --model clip.pt --vocab vocab.txt.gz --class cat dog --template imagenet-7")
        {
            Images, ClipChoice.Model, ClipChoice.Vocabulary, ClipChoice.Texts, Classes, ClassFile, Templates, Top,
                ClipChoice.Json,
            Save, Shared.Precision,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        string[] texts = parse.GetValue(ClipChoice.Texts) ?? [], classes = Names(parse);
        string[] given = parse.GetValue(Images) ?? [];
        if (texts.Length > 0 == classes.Length > 0)
            throw new EspalierException("say what to compare with by --text, or by --class and --template; one of both");
        if (given.Length == 0 && parse.GetValue(Save) is null) throw new EspalierException("say which images to label");
        if (parse.GetValue(Save) is not null
            && classes.Length == 0) throw new EspalierException("--save is for classes; give --class");
        if (texts.Length > 0 && parse.GetValue(Templates) is { Length: > 0 })
            throw new EspalierException("--template is for names of classes; give --class in the place of --text");
        Folders.RefuseInput(parse.GetValue(Save), parse.GetValue(ClipChoice.Model), "--save");
        Folders.MakeFor(parse.GetValue(Save));
        using ClipModel model = ClipChoice.Open(parse, context);
        ZeroShot? zero = classes.Length == 0 ? null : ZeroShot.Of(model, classes, Sentences(parse.GetValue(Templates) ?? []));
        if (parse.GetValue(Save) is { } path) Write(parse, zero!, path, context);
        float[][] columns = zero is null ? model.EncodeText(texts) : [.. zero.Columns];
        List<string> files = [.. PictureFiles.Of(given, strict: false, context)];
        List<float[]> features = ClipChoice.Encode(model, files, context);
        ClipLogits logits = model.Logits([.. features], columns);
        float[][] shares = logits.Probabilities();
        if (shares.SelectMany(s => s).Any(s => !float.IsFinite(s)))
            throw new EspalierException($"{parse.GetValue(ClipChoice.Model)}: gives no numbers; the checkpoint is damaged");
        string[] labels = zero is null ? texts : classes;
        for (int i = 0; i < files.Count; i++)
        {
            if (parse.GetValue(ClipChoice.Json)) Json(context.Terminal, files[i], labels, logits.PerImage[i], shares[i]);
            else Table(context.Terminal, files[i], labels, shares[i], parse.GetValue(Top) ?? 5);
        }
        return ExitCodes.Done;
    }

    private static void Json(Terminal terminal, string file, string[] labels, float[] logits, float[] shares) =>
        JsonLines.Write(terminal, json =>
        {
            json.WriteString("image", file);
            json.Strings("labels", labels);
            json.Numbers("logits", logits);
            json.Numbers("probabilities", shares);
        });

    private static void Table(Terminal terminal, string file, string[] labels, float[] shares, int top)
    {
        terminal.Line(Terminal.Name(file));
        foreach (int i in Enumerable.Range(0, labels.Length).OrderByDescending(i => shares[i]).Take(top))
            terminal.Line($"  {Format.Percent(shares[i]),8}  {labels[i]}");
    }

    private static string[] Names(ParseResult parse)
    {
        string[] names = parse.GetValue(Classes) ?? [];
        if (parse.GetValue(ClassFile) is not { } file) return names;
        if (!File.Exists(file)) throw new EspalierException($"{file}: no such file of class names");
        return [.. names, .. File.ReadLines(file).Select(l => l.Trim()).Where(l => l.Length > 0)];
    }

    private static string[] Sentences(string[] given) => given.Length == 0 ? [.. PromptTemplates.Get("plain")!]
        : [.. given.SelectMany(t => PromptTemplates.Get(t) ?? [t])];

    private static void Write(ParseResult parse, ZeroShot zero, string path, CommandContext context)
    {
        using Model image = ClipModel.OpenImageTower(parse.GetValue(ClipChoice.Model)!, ClipChoice.Options(parse, context));
        zero.MakeClassifier(image);
        image.Card = image.Card.With($"zero-shot classifier of {zero.Classes.Count} classes");
        image.Save(path);
        context.Terminal.Line($"wrote {path}");
    }
}
