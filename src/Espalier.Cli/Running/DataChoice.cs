using Espalier.Data;

namespace Espalier.Cli.Running;

/// <summary>Which images are used for what.</summary>
internal static class DataChoice
{
    private const double UsualHoldOut = 0.05;
    private const int FewestToHoldOut = 1000;

    /// <summary>Images to learn from, to choose the best checkpoint by, and to report on in the end.</summary>
    /// <param name="HeldOut">Whether Selection is a part of the training split; else it is the test split itself.</param>
    public sealed record Splits(IImageDataset Train, IImageDataset Selection, IImageDataset Test, bool HeldOut);

    public static Splits Split(DatasetPair data, TrainPlan plan)
    {
        double share = plan.HoldOut ?? (plan.Options.Shuffle && data.Train.Count >= FewestToHoldOut ? UsualHoldOut : 0);
        IImageDataset train = data.Train, selection = data.Test;
        if (share > 0) (train, selection) = Subset.HoldOutTail(data.Train, share);
        return new Splits(train, Limit(selection, plan.EvalLimit), Limit(data.Test, plan.EvalLimit), share > 0);
    }

    public static IImageDataset Limit(IImageDataset data, int? count) =>
        count is { } n && n < data.Count ? Subset.First(data, n) : data;

    /// <summary>The data set that the user names, else the one that the checkpoint was trained on.</summary>
    /// <param name="own">That one; null where the checkpoint does not say.</param>
    public static DatasetPair Open(string? name, string? directory, string? own, string checkpoint) =>
        Datasets.Open(name ?? own
            ?? throw new EspalierException($"{checkpoint}: does not say which data set it was trained on; give --data NAME"),
            directory);

    public static IImageDataset Of(DatasetPair data, string? split) => split == "train" ? data.Train : data.Test;
}
