using System.CommandLine;
using System.Globalization;
using Espalier.Clip;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Data;
using Espalier.Imaging;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier clip probe`: logistic regression on frozen features.</summary>
internal static class ClipProbeVerb
{
    private const double HeldOut = 0.2;
    private const int Batch = 64;

    private static readonly Option<double?> C = Opt.Number("--c",
        "What a wrong label counts against large weights; else it is searched for between 1e-6 and 1e6", 1e-9, 1e9, "C");

    private static readonly Option<int?> Limit = Opt.Number("--limit", "The first N images of each split only", 2, int.MaxValue);

    private static readonly Option<string?> Output = Opt.Text("--output", "Write the image tower with the classifier as a model",
        "FILE.safetensors");

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("probe", "Logistic regression on the image tower's features of a data set (linear probe).",
            "espalier clip probe --model ViT-B/32 --data cifar100 --c 0.316",
                "espalier clip probe --model clip.pt --data my-images")
        {
            ClipChoice.Model, Shared.Data, Shared.DataDir, Shared.Strict, C, Limit, Output, Shared.Precision,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        DatasetPair data = DataChoice.Open(parse, null, "the probe", context);
        Folders.RefuseInput(parse.GetValue(Output), parse.GetValue(ClipChoice.Model), "--output");
        Folders.MakeFor(parse.GetValue(Output));
        using ClipModel model = ClipChoice.Open(parse, context);
        Terminal terminal = context.Terminal;
        int classes = data.Train.Classes;
        Part train = Features(model, DataChoice.Limit(data.Train, parse.GetValue(Limit)), "training images", context);
        Part test = Features(model, DataChoice.Limit(data.Test, parse.GetValue(Limit)), "test images", context);
        double c = parse.GetValue(C) ?? Searched();
        LogisticRegression probe = LogisticRegression.Fit(train.Features, train.Labels, classes, c);
        terminal.Line($"C           {c.ToString("0.######", CultureInfo.InvariantCulture)}");
        foreach (var (name, part) in new[] { ("training", train), ("test", test) })
        {
            double accuracy = probe.Accuracy(part.Features, part.Labels);
            terminal.Line($"{name,-11} {Format.Percent(accuracy)} of {part.Labels.Count} images");
        }
        if (parse.GetValue(Output) is not { } path) return ExitCodes.Done;
        using Model image = ClipModel.OpenImageTower(parse.GetValue(ClipChoice.Model)!, ClipChoice.Options(parse, context));
        probe.MakeClassifier(image, data.Train.ClassNames);
        image.Card = image.Card.With($"linear probe on {data.Info.Name}, C = {c.ToString(CultureInfo.InvariantCulture)}")
            with { Dataset = data.Info.Name };
        image.Save(path);
        terminal.Line($"wrote {path}");
        return ExitCodes.Done;

        double Searched()
        {
            (Part fit, Part held) = data.Validation is { } validation
                ? (train, Features(model, DataChoice.Limit(validation, parse.GetValue(Limit)), "validation images", context))
                : train.Split(HeldOut);
            return ProbeSweep.Run(fit.Features, fit.Labels, held.Features, held.Labels, classes, (tried, accuracy) =>
            {
                context.Cancel.ThrowIfCancellationRequested();
                terminal.Line($"  C {tried.ToString("0.######", CultureInfo.InvariantCulture),-12} {Format.Percent(accuracy)}");
            }).Best;
        }
    }

    private static Part Features(ClipModel model, IImageDataset data, string what, CommandContext context) =>
        Watch.Run(context.Terminal, what, data.Count, report =>
        {
            var part = new Part([], []);
            for (int start = 0; start < data.Count; start += Batch)
            {
                context.Cancel.ThrowIfCancellationRequested();
                report(start);
                var images = new List<Image>();
                for (int i = start; i < Math.Min(start + Batch, data.Count); i++)
                {
                    try
                    {
                        images.Add(data.ReadImage(i));
                        part.Labels.Add(data.Label(i));
                    }
                    catch (EspalierException e) when (data.Skip(i, e))
                    {
                        // Named in the end.
                    }
                }
                part.Features.AddRange(model.EncodeImage(images));
            }
            return part;
        });

    private sealed record Part(List<float[]> Features, List<int> Labels)
    {
        /// <summary>Every so many go to the other part, so that classes stay mixed in data sets that come class by
        /// class.</summary>
        public (Part Fit, Part Held) Split(double share)
        {
            int every = (int)Math.Round(1 / share);
            (Part fit, Part held) = (new Part([], []), new Part([], []));
            for (int i = 0; i < Labels.Count; i++)
            {
                Part to = i % every == every - 1 ? held : fit;
                to.Features.Add(Features[i]);
                to.Labels.Add(Labels[i]);
            }
            if (held.Labels.Count == 0) throw new EspalierException("there are too few images to search for C; give --c");
            return (fit, held);
        }
    }
}
