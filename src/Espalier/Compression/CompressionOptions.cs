using System.Globalization;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Compression;

/// <summary>What every method is told. Methods inherit it; on its own it is enough for a job that only trains.</summary>
public record CompressionOptions
{
    /// <summary>Share of the multiply-adds to keep where nothing else says how much goes.</summary>
    private const double UsualFlops = 0.5;

    private readonly SelectionOptions selection = new();

    /// <summary>How much is removed, and where. Without a target half of the multiply-adds stay.</summary>
    public SelectionOptions Selection
    {
        get => selection.HasTarget ? selection : selection with { TargetFlops = UsualFlops };
        init => selection = value;
    }

    /// <summary>Whether something else than the usual says how much is removed.</summary>
    internal bool HasTarget => selection.HasTarget;

    /// <summary>As in <see cref="Selection"/>: the share of the multiply-adds to keep at most.</summary>
    public double? TargetFlops
    {
        get => Selection.TargetFlops;
        init => selection = selection with { TargetFlops = value };
    }

    /// <summary>As in <see cref="Selection"/>: the share of the time to need at most.</summary>
    public double? TargetTime
    {
        get => Selection.TargetTime;
        init => selection = selection with { TargetTime = value };
    }

    /// <summary>As in <see cref="Selection"/>: milliseconds a call may need at most.</summary>
    public double? TargetLatency
    {
        get => Selection.TargetLatency;
        init => selection = selection with { TargetLatency = value };
    }

    /// <summary>As in <see cref="Selection"/>: the share of the channels to remove.</summary>
    public LayerRatios? Ratio
    {
        get => Selection.Ratio;
        init => selection = selection with { Ratio = value };
    }

    /// <summary>
    /// Whether what a removed channel would emit with zero weights goes into what follows, which is exact but for zero-padded
    /// borders; else it counts as zero, which is exact everywhere.
    /// </summary>
    public bool MoveConstants { get; init; }

    /// <summary>After each removal of channels, what read them is fitted in closed form to give what it gave, without training; null
    /// for not. See <see cref="Recovery"/>.</summary>
    public RecoverOptions? Recover { get; init; }

    /// <summary>Images that <see cref="Recover"/> and scores of activations look at; null for the training images. They need no
    /// labels.</summary>
    public IImageDataset? Calibration { get; init; }

    /// <summary>Rounds of removing and fine-tuning; 1 removes all at once.</summary>
    public int Rounds { get; init; } = 1;

    public PruningSchedule Schedule { get; init; } = PruningSchedule.Linear;

    /// <summary>Steps of the training that a method does before it removes anything (sparsity, soft pruning); 0 for none.</summary>
    public long TrainSteps { get; init; }

    /// <summary>Steps of training after the removal, over all rounds together; 0 for none.</summary>
    public long FineTuneSteps { get; init; }

    /// <summary>How any training goes; steps and name are set for each stage. With a folder a run can be resumed, see
    /// <see cref="CompressionJob.Train(string, long, ITrainingHook[])"/>.</summary>
    public TrainOptions Training { get; init; } = new() { BatchSize = 64, LearningRate = 0.01f };

    /// <summary>Label smoothing, mixing and the teacher of any training.</summary>
    public ClassifierTaskOptions Task { get; init; } = new();

    /// <summary>Training batches that a method looks at to judge channels.</summary>
    public int RankBatches { get; init; } = 20;

    /// <summary>Of what is random in a method.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>The part of <paramref name="steps"/> that falls to round <paramref name="round"/>, from 1.</summary>
    internal long Share(long steps, int round) => steps * round / Rounds - steps * (round - 1) / Rounds;

    /// <summary>What a training is called: with the round, where there are several.</summary>
    internal string Stage(string name, int round) =>
        Rounds == 1 ? name : string.Create(CultureInfo.InvariantCulture, $"{name} {round}/{Rounds}");
}
