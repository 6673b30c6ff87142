using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Data;
using Espalier.Inference;

namespace Espalier.Cli.Running;

/// <summary>Which images are used for what.</summary>
internal static class DataChoice
{
    private const double UsualHoldOut = 0.05;
    private const int FewestToHoldOut = 1000;

    /// <summary>Images to learn from, to choose the best checkpoint by, and to report on in the end.</summary>
    /// <param name="HeldOut">Whether Selection is not for testing; else it is the test split itself.</param>
    public sealed record Splits(IImageDataset Train, IImageDataset Selection, IImageDataset Test, bool HeldOut);

    public static Splits Split(DatasetPair data, TrainPlan plan)
    {
        double share = plan.HoldOut ?? (data.Validation is null && plan.Options.Shuffle && data.Train.Count >= FewestToHoldOut
            ? UsualHoldOut : 0);
        IImageDataset train = data.Train, selection = data.Validation ?? data.Test;
        if (share > 0) (train, selection) = Subset.HoldOutTail(data.Train, share);
        return new Splits(train, Limit(selection, plan.EvalLimit), Limit(data.Test, plan.EvalLimit),
            share > 0 || data.Validation is not null);
    }

    public static IImageDataset Limit(IImageDataset data, int? count) =>
        count is { } n && n < data.Count ? Subset.Some(data, n) : data;

    /// <summary>
    /// The data set that is meant: the one that the user names; else what the folder holds that the user names, the model's
    /// own or the usual data set first; else that one.
    /// </summary>
    public static string? Name(string? asked, string? directory, string? usual) =>
        asked ?? (directory is null ? null : Datasets.In(directory, usual)) ?? usual;

    /// <summary>Opens what <see cref="Name"/> gives.</summary>
    /// <param name="own">The data set that the checkpoint was trained on; null where it does not say.</param>
    public static DatasetPair Open(ParseResult parse, string? own, string checkpoint, CommandContext context)
    {
        string? directory = parse.GetValue(Shared.DataDir);
        return context.Opened(Datasets.Open(Name(parse.GetValue(Shared.Data), directory, own)
            ?? throw new EspalierException($"{checkpoint}: does not say which data set it was trained on; give --data NAME"),
            directory, strict: parse.GetValue(Shared.Strict)));
    }

    /// <summary>The images with the labels of a model's classes; says so where there is something to say.</summary>
    /// <exception cref="EspalierException">They are other classes, or more of them.</exception>
    public static IImageDataset For(Session model, string checkpoint, IImageDataset data, Terminal terminal)
    {
        ModelChoice.RequireClasses(model.NumClasses, checkpoint, data);
        ClassMatch match = ClassMatch.Of(data, model.ClassNames, checkpoint);
        if (match.InOrder)
            terminal.Line($"classes     {ClassMatch.Some(data.ClassNames)} in the place of {ClassMatch.Some(model.ClassNames!)}, "
                + "as no name is the same");
        else if (match.Missing.Count > 0) terminal.Line($"no images   of {ClassMatch.Some(match.Missing)}");
        return match.Data;
    }

    public static IImageDataset Of(DatasetPair data, string? split) => split switch
    {
        "train" => data.Train,
        "val" => data.Validation ?? data.Test,
        _ => data.Test,
    };
}
