using System.CommandLine;
using System.Text;
using Espalier.Clip;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Inference;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier embed`: features of pictures or texts, as numbers in a file.</summary>
internal static class EmbedVerb
{
    private static readonly Argument<string[]> Images = new("IMAGE")
    {
        Description = "PNG, JPEG, BMP, GIF or WebP files, or folders of them",
        Arity = ArgumentArity.ZeroOrMore,
    };

    private static readonly Option<string?> Output = Opt.Text("--output",
        "A matrix for numpy, a row a picture or text (.npy), or JSON lines (.jsonl); by default lines here", "FILE");

    private static readonly Option<bool> Normalise = Opt.Flag("--normalize", "Make each vector's length 1");

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("embed", "Features of pictures or texts: of CLIP, or of any network what its head reads.",
            "espalier embed photos --model ViT-B/32 --output photos.npy", "espalier embed --model clip.pt --text cat --normalize",
            "espalier embed boot.png --model models/apt-fashion-mnist.safetensors",
            "espalier embed photos --model dinov2_vits14_pretrain.pth --img-size 224 --output photos.npy")
        {
            Images, ClipChoice.Model, ClipChoice.Vocabulary, ClipChoice.Texts, Output, Normalise, Shared.ModelType, Shared.Config,
            Shared.ImageSize, Shared.Precision,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        string[] texts = parse.GetValue(ClipChoice.Texts) ?? [], given = parse.GetValue(Images) ?? [];
        if (texts.Length > 0 == given.Length > 0) throw new EspalierException("give images, or texts with --text; one of both");
        string path = parse.GetValue(ClipChoice.Model) ?? throw new EspalierException("say which model with --model FILE");
        Folders.RefuseInput(parse.GetValue(Output), path, "--output");
        Folders.MakeFor(parse.GetValue(Output));
        List<string> names = texts.Length > 0 ? [.. texts] : [.. PictureFiles.Of(given, strict: false, context)];
        List<float[]> vectors;
        OpenOptions options = Checkpoints.Shape(parse);
        if (texts.Length == 0 && (options != new OpenOptions() || FeatureNetwork.Is(path)))
        {
            using var network = FeatureNetwork.Open(path, options, new SessionOptions { Precision = ClipChoice.Options(parse, context).Precision });
            vectors = [.. names.Select(file => network.Encode(ImageFile.Read(file)))];
        }
        else
        {
            using ClipModel model = ClipChoice.Open(parse, context);
            vectors = texts.Length > 0 ? [.. model.EncodeText(texts)] : ClipChoice.Encode(model, names, context);
        }
        if (parse.GetValue(Normalise)) vectors = [.. vectors.Select(ClipModel.Normalised)];
        Write(parse.GetValue(Output), context.Terminal, names, vectors);
        return ExitCodes.Done;
    }

    private static void Write(string? output, Terminal terminal, List<string> names, List<float[]> vectors)
    {
        if (output?.EndsWith(".npy", StringComparison.OrdinalIgnoreCase) == true)
        {
            var all = new NamedArray("", [vectors.Count, vectors[0].Length], [.. vectors.SelectMany(v => v)]);
            AtomicFile.Write(output, stream => Npy.Write(stream, all));
        }
        else if (output is null)
        {
            for (int i = 0; i < names.Count; i++) Line(terminal, i);
            return;
        }
        else
        {
            AtomicFile.Write(output, stream =>
            {
                using var writer = new StreamWriter(stream, new UTF8Encoding(false), leaveOpen: true);
                writer.NewLine = "\n";
                for (int i = 0; i < names.Count; i++) Line(terminal with { Out = writer }, i);
            });
        }
        terminal.Line($"wrote {vectors.Count} vectors of {vectors[0].Length} numbers to {output}");

        void Line(Terminal to, int i) => JsonLines.Write(to, json =>
        {
            json.WriteString("input", names[i]);
            json.Numbers("embedding", vectors[i]);
        });
    }
}
