using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Formats;
using Espalier.Inference;
using Spectre.Console;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier infer`: a data set through a checkpoint.</summary>
internal static class InferVerb
{
    private static readonly Option<string?> Split = Opt.Choice("--split", "Which images [test]", "test", "train", "val");
    private static readonly Option<int?> Limit = Opt.Number("--limit", "The first N images only", 1, int.MaxValue);
    private static readonly Option<bool> NoPrune = Opt.Flag("--no-prune", "Keep every token");
    private static readonly Option<int?> BatchSize = Opt.Number("--batch-size", "Images a batch [32]", 1, 1 << 20);
    private static readonly Option<string?> Output = Opt.Text("--output", "Write one JSON line an image", "FILE.jsonl");
    private static readonly Option<bool> PerClass = Opt.Flag("--per-class", "Accuracy of each class, and what it was mostly taken for");
    private static readonly Option<string?> Confusion =
        Opt.Text("--confusion", "Write how often each class was taken for which, as a table", "FILE.csv");
    private static readonly Option<bool> Curve = Opt.Flag("--curve", "Accuracy and compute at thresholds from 0.1 to 0.9");

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("infer", "Runs a data set through a checkpoint, pruned or not: tokens left, accuracy, speed.",
            "espalier infer --model output/apt-best-pruned.safetensors --data fashion-mnist --output predictions.jsonl",
            "espalier infer --model apt.pth --config shape.json --data cifar100 --data-dir data/cifar100 --no-prune")
        {
            Shared.Model, Shared.Data, Shared.DataDir, Shared.Strict, Split, Limit,
            NoPrune, Shared.Threshold, Shared.KeepShare, Shared.Precision, BatchSize, Output, PerClass, Confusion, Curve,
            Shared.Config, Shared.ModelType, Shared.Averaged, Shared.Preprocess,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        string path = Checkpoints.Required(parse);
        Folders.RefuseInput(parse.GetValue(Output), path, "--output");
        Folders.RefuseInput(parse.GetValue(Confusion), path, "--confusion");
        if (parse.GetValue(Output) is { } to && parse.GetValue(Confusion) is { } table && Path.GetFullPath(to) == Path.GetFullPath(table))
            throw new EspalierException($"--output and --confusion {to}: are one file; give another name for one of them");
        using Session model = Checkpoints.Open(parse, path);
        Checkpoints.RequireClassifier(model, path);
        DatasetPair pair = DataChoice.Open(parse, model.Dataset, path, context);
        IImageDataset data = DataChoice.For(model, path,
            DataChoice.Limit(DataChoice.Of(pair, parse.GetValue(Split)), parse.GetValue(Limit)), context.Terminal);
        bool prune = !parse.GetValue(NoPrune), hasAgents = model.AgentLayers.Count > 0;
        if (parse.GetValue(Curve) && (!hasAgents || !prune))
            throw new EspalierException($"{path}: --curve moves the agents' threshold, so it needs "
                + "a checkpoint with agents, and no --no-prune");

        if (!prune && (parse.GetValue(Shared.Threshold) is not null || parse.GetValue(Shared.KeepShare) is not null))
            throw new EspalierException("--no-prune keeps every token, so --threshold and --keep-share have no meaning; leave one of them out");
        if (parse.GetValue(Split) == "val" && pair.Validation is null)
            context.Terminal.Line("split       no images of their own to validate with: these are the test images");
        PreprocessChoice.Show(context.Terminal, model.Preprocessing);
        var run = new EvaluationRun(context, model, data, parse.GetValue(BatchSize) ?? 32);
        var counts = new TokenCounts(model.Tokens > 0 ? 1 + model.AgentLayers.Count : 0);
        var classes = new ClassCounts(model.NumClasses);
        Folders.MakeFor(parse.GetValue(Output), parse.GetValue(Confusion));
        ModelEvaluation result = Evaluate(run, path, prune, counts, classes, parse.GetValue(Output));
        Print(context.Terminal, model, result, counts, data, prune);
        Print(context.Terminal, model, classes, parse.GetValue(PerClass));
        if (parse.GetValue(Confusion) is { } matrix)
        {
            classes.WriteCsv(matrix, Names(model));
            context.Terminal.Line($"confusion   {matrix}");
        }
        if (parse.GetValue(Output) is { } output) context.Terminal.Line($"wrote {result.Images} lines to {output}");
        if (parse.GetValue(Curve)) Tables.Curve(context.Terminal, run.Curve(), run.Run("unpruned", prune: false));
        return ExitCodes.Done;
    }

    private static ModelEvaluation Evaluate(EvaluationRun run, string path, bool prune, TokenCounts counts,
        ClassCounts classes, string? output)
    {
        ModelEvaluation? result = null;
        if (output is null)
            result = run.Run("infer", prune, image => counts.Add(Checked(image)));
        else
            AtomicFile.Write(output, stream =>
            {
                using var lines = new JsonLines(stream);
                result = run.Run("infer", prune, image =>
                {
                    counts.Add(Checked(image));
                    lines.Write(Spread(image), run.Data.FileOf(image.Index));
                });
            });
        return result!;

        // What an unpruned pass of a model with agents keeps: everything, after each of them.
        ImageResult Spread(ImageResult image) => image.Tokens.Length == counts.Stages ? image
            : image with { Tokens = [.. Enumerable.Repeat(image.Tokens[0], counts.Stages)] };

        ImageResult Checked(ImageResult image)
        {
            if (!image.Logits.All(float.IsFinite))
                throw new EspalierException($"{path}: the logits of image {image.Index} are not numbers; "
                    + "the checkpoint is damaged");
            classes.Add(image);
            return Spread(image);
        }
    }

    private static string[] Names(Session model) =>
        [.. Enumerable.Range(0, model.NumClasses).Select(c => model.ClassNames?[c] ?? $"class {c}")];

    private static void Print(Terminal terminal, Session model, ClassCounts classes, bool perClass)
    {
        if (model.NumClasses > 5) terminal.Line($"in top 5    {Format.Percent(classes.TopFive)}");
        if (!perClass) return;
        string[] names = Names(model);
        Table table = Tables.New("class", "images", "accuracy", "mostly taken for");
        for (int c = 0; c < names.Length; c++)
            if (classes.Images(c) is > 0 and var images)
                table.Row(names[c], $"{images}", Format.Percent(classes.Accuracy(c)!.Value),
                    classes.MostlyTakenFor(c) is { } other ? $"{names[other]} ({classes.Of(c, other)})" : "");
        terminal.Console.Write(table);
    }

    private static void Print(Terminal terminal, Session model, ModelEvaluation result, TokenCounts counts,
        IImageDataset data, bool prune)
    {
        string how = counts.Stages == 0 ? model.Description : model.AgentLayers.Count == 0 ? "no agents" : !prune ? "unpruned"
            : $"pruned, {model.Pruning}";
        terminal.Line($"{data.Name}, {result.Images} images, {how}");
        if (counts.Stages > 0) Tables.Tokens(terminal, counts, model.AgentLayers);
        terminal.Line($"accuracy    {Format.Percent(result.Accuracy)}");
        terminal.Line($"loss        {Format.Number(result.Loss, "0.0000")}");
        terminal.Line($"MACs/image  {Format.Large(result.MultiplyAdds)}"
            + (counts.Stages == 0 ? "" : $" ({Format.Share(result.MultiplyAdds / model.DenseMultiplyAdds)} of the dense model)"));
        terminal.Line($"images/s    {Format.Rate(result.ImagesPerSecond)}");
    }
}
